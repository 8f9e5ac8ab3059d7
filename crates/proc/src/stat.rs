//! `/proc/PID/stat`, `status`, `cmdline` and `comm`, parsed from bytes.
//!
//! It knows the formats of proc(5). What it reads is decided by the process itself, or by a kernel
//! newer than this program: a field that is missing or strange gets the value that says least, and
//! nothing is read beyond a limit.

use std::io;
use std::time::Duration;

use crate::bounded;

/// More than any kernel writes to `stat` or `status`, however many processors it lists.
const LINES_AT_MOST: u64 = 64 << 10;

/// More than can be shown; a command line may have 128 KiB an argument.
const CMDLINE_AT_MOST: u64 = 1 << 20;

/// `USER_HZ`: the unit of the times in `stat`, 100 a second on every machine that is known here.
const TICKS_A_SECOND: u64 = 100;

/// `PF_EXITING` of the kernel's include/linux/sched.h.
const EXITING: u32 = 0x4;

/// `PF_KTHREAD`
const KERNEL_THREAD: u32 = 0x0020_0000;

/// One line of `stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    /// The thread's name: any bytes but 0, at most 15.
    pub comm: Vec<u8>,
    /// `S`, `R`, `T`, `t`, `Z`, ...
    pub state: char,
    pub ppid: i32,
    /// The kernel's flags of the thread.
    pub flags: u32,
    pub threads: u32,
    /// In ticks since the machine started. With the pid it names a process for ever.
    pub start_ticks: u64,
}

impl Stat {
    pub fn of(pid: i32) -> io::Result<Self> {
        Self::read(&format!("/proc/{pid}/stat"))
    }

    pub fn of_thread(pid: i32, tid: i32) -> io::Result<Self> {
        Self::read(&format!("/proc/{pid}/task/{tid}/stat"))
    }

    /// Parses the line; `None` if it is none.
    pub fn parse(line: &[u8]) -> Option<Self> {
        // The name may hold spaces, newlines and brackets; nothing after it does.
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let comm = line.get(open + 1..close)?.to_vec();
        let pid = number(&line[..open])?;
        let mut fields =
            line[close + 1..].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let state = char::from(*fields.next()?.first()?);
        let ppid = number(fields.next()?)?;
        // pgrp session tty_nr tpgid; then flags, field 9 of proc(5).
        let flags = number(fields.nth(4)?)?;
        // minflt to nice, fields 10 to 19; then num_threads.
        let threads = number(fields.nth(10)?)?;
        // itrealvalue; then starttime, field 22.
        let start_ticks = number(fields.nth(1)?)?;
        Some(Self { pid, comm, state, ppid, flags, threads, start_ticks })
    }

    /// It has begun to end: it answers no more, and may not be attached to.
    pub fn is_exiting(&self) -> bool {
        self.flags & EXITING != 0 || matches!(self.state, 'Z' | 'X' | 'x')
    }

    pub fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }

    /// Stopped by a signal (`T`) or by a tracer (`t`).
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// How long it has been there, to 10 ms, given the time since the machine started.
    pub fn age(&self, uptime: Duration) -> Duration {
        let ticks = Duration::from_millis(self.start_ticks.saturating_mul(1000 / TICKS_A_SECOND));
        uptime.saturating_sub(ticks)
    }

    fn read(path: &str) -> io::Result<Self> {
        Self::parse(&bounded::read(path, LINES_AT_MOST)?).ok_or_else(unexpected)
    }
}

/// `status`, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: char,
    pub pid: i32,
    pub ppid: i32,
    /// The pid of the tracer, 0 if there is none.
    pub tracer: i32,
    pub uids: Ids,
    pub gids: Ids,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    pub threads: u32,
    /// The process id in each pid namespace, the reader's first, its own last.
    pub namespace_pids: Vec<i32>,
    /// Pending for this thread.
    pub pending: u64,
    /// Pending for the process.
    pub shared_pending: u64,
    pub blocked: u64,
    pub ignored: u64,
    pub caught: u64,
    pub permitted_capabilities: u64,
    pub effective_capabilities: u64,
    /// 0 off, 1 strict, 2 a filter.
    pub seccomp: u32,
    pub no_new_privileges: bool,
    /// The processor keeps a second stack of return addresses.
    pub shadow_stack: bool,
}

/// The four ids of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
    pub filesystem: u32,
}

impl Status {
    pub fn of(pid: i32) -> io::Result<Self> {
        Self::read(&format!("/proc/{pid}/status"))
    }

    pub fn of_thread(pid: i32, tid: i32) -> io::Result<Self> {
        Self::read(&format!("/proc/{pid}/task/{tid}/status"))
    }

    /// The caller's own thread.
    pub fn own() -> io::Result<Self> {
        Self::read("/proc/thread-self/status")
    }

    /// Parses the text. The kernel escapes newlines in the name, so no name can forge a field.
    pub fn parse(text: &[u8]) -> Self {
        let fields = Fields(text);
        Self {
            state: fields.get(b"State").first().map_or('?', |byte| char::from(*byte)),
            pid: fields.decimal(b"Pid").unwrap_or(0),
            ppid: fields.decimal(b"PPid").unwrap_or(0),
            tracer: fields.decimal(b"TracerPid").unwrap_or(0),
            uids: fields.ids(b"Uid"),
            gids: fields.ids(b"Gid"),
            groups: words(fields.get(b"Groups")).filter_map(number).collect(),
            threads: fields.decimal(b"Threads").unwrap_or(0),
            namespace_pids: words(fields.get(b"NSpid")).filter_map(number).collect(),
            pending: fields.mask(b"SigPnd"),
            shared_pending: fields.mask(b"ShdPnd"),
            blocked: fields.mask(b"SigBlk"),
            ignored: fields.mask(b"SigIgn"),
            caught: fields.mask(b"SigCgt"),
            permitted_capabilities: fields.mask(b"CapPrm"),
            effective_capabilities: fields.mask(b"CapEff"),
            seccomp: fields.decimal(b"Seccomp").unwrap_or(0),
            no_new_privileges: fields.decimal(b"NoNewPrivs") == Some(1),
            shadow_stack: words(fields.get(b"x86_Thread_features")).any(|word| word == b"shstk"),
        }
    }

    fn read(path: &str) -> io::Result<Self> {
        Ok(Self::parse(&bounded::read(path, LINES_AT_MOST)?))
    }
}

/// The arguments of a process, as it shows them now; empty for a kernel thread or a zombie.
pub fn command_line(pid: i32) -> io::Result<Vec<Vec<u8>>> {
    Ok(parse_command_line(&bounded::read(format!("/proc/{pid}/cmdline"), CMDLINE_AT_MOST)?))
}

/// Splits `cmdline`. A process may write anything there: one that shows a title has one argument,
/// with the rest of its old space as zeros behind it.
pub fn parse_command_line(bytes: &[u8]) -> Vec<Vec<u8>> {
    // Only a title is padded with more than one zero: an empty last argument ends in two.
    let padding = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let text = &bytes[..bytes.len() - if padding > 2 { padding } else { padding.min(1) }];
    if bytes.is_empty() || (text.is_empty() && padding > 2) {
        return Vec::new();
    }
    text.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// The name of a process or thread (`/proc/PID/comm`), without the line end.
pub fn name(pid: i32) -> io::Result<Vec<u8>> {
    let mut name = bounded::read(format!("/proc/{pid}/comm"), 256)?;
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    Ok(name)
}

/// The time since the machine started.
pub fn uptime() -> io::Result<Duration> {
    parse_uptime(&bounded::read("/proc/uptime", 256)?).ok_or_else(unexpected)
}

fn parse_uptime(text: &[u8]) -> Option<Duration> {
    let seconds: f64 = number(text.split(u8::is_ascii_whitespace).next()?)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Lines of the form `Name:<tab>value`.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn get(&self, name: &[u8]) -> &'a [u8] {
        self.0
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"))
            .unwrap_or_default()
            .trim_ascii()
    }

    fn decimal<T: std::str::FromStr>(&self, name: &[u8]) -> Option<T> {
        number(self.get(name))
    }

    fn mask(&self, name: &[u8]) -> u64 {
        let text = std::str::from_utf8(self.get(name)).unwrap_or_default();
        u64::from_str_radix(text, 16).unwrap_or(0)
    }

    /// An id that cannot be read is the one that nobody has.
    fn ids(&self, name: &[u8]) -> Ids {
        let mut ids = words(self.get(name)).map(|word| number(word).unwrap_or(u32::MAX));
        let mut next = || ids.next().unwrap_or(u32::MAX);
        Ids { real: next(), effective: next(), saved: next(), filesystem: next() }
    }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unexpected content")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &[u8] = b"4123 (python3) S 1 4123 4123 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 12 0 \
        98765 1000 200 18446744073709551615 1 1 0 0 0 0 0 16781312 2 0 0 0 17 1 0 0 0 0 0\n";

    #[test]
    fn the_fields_of_stat_are_the_right_ones() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!((stat.pid, stat.comm.as_slice(), stat.state), (4123, &b"python3"[..], 'S'));
        assert_eq!(
            (stat.ppid, stat.flags, stat.threads, stat.start_ticks),
            (1, 4194560, 12, 98765)
        );
        assert!(!stat.is_exiting() && !stat.is_kernel_thread() && !stat.is_stopped());
        assert_eq!(stat.age(Duration::from_secs(1000)), Duration::from_millis(12_350));
        assert_eq!(stat.age(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_name_cannot_forge_fields() {
        let line = STAT.to_vec();
        let forged = [&line[..6], b") Z 1 1\n(x) (", &line[6..]].concat();
        let stat = Stat::parse(&forged).unwrap();
        assert_eq!((stat.state, stat.ppid, stat.threads), ('S', 1, 12));
        assert!(stat.comm.starts_with(b") Z 1 1\n(x) (python3"));
    }

    #[test]
    fn the_end_is_seen() {
        for (flags, state, exiting) in [(0x4, 'S', true), (0, 'Z', true), (0, 'S', false)] {
            let stat = Stat { flags, state, ..Stat::parse(STAT).unwrap() };
            assert_eq!(stat.is_exiting(), exiting);
        }
    }

    #[test]
    fn the_fields_of_status_are_the_right_ones() {
        let status = Status::parse(
            b"Name:\tx\\nState:\nUmask:\t0022\nState:\tt (tracing stop)\nPid:\t77\nPPid:\t5\n\
              TracerPid:\t4001\nUid:\t1000\t1001\t1002\t1003\nGid:\t1\t2\t3\t4\n\
              NSpid:\t77\t1\nThreads:\t3\nSigPnd:\t0000000000000001\nShdPnd:\t0000000000000002\n\
              SigBlk:\t0000000000000004\nSigIgn:\t0000000001001000\nSigCgt:\t8000000000000000\n\
              CapPrm:\t000001ffffffffff\nCapEff:\t0000000000080000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
              x86_Thread_features:\tshstk wrss \n",
        );
        assert_eq!((status.state, status.pid, status.ppid, status.tracer), ('t', 77, 5, 4001));
        let uids = Ids { real: 1000, effective: 1001, saved: 1002, filesystem: 1003 };
        assert_eq!((status.uids, status.gids.saved, status.threads), (uids, 3, 3));
        assert_eq!(status.namespace_pids, [77, 1]);
        assert_eq!((status.pending, status.shared_pending, status.blocked), (1, 2, 4));
        assert_eq!((status.ignored, status.caught), (0x0100_1000, 1 << 63));
        assert_eq!(status.effective_capabilities, 1 << 19);
        assert!(status.seccomp == 2 && status.no_new_privileges && status.shadow_stack);
    }

    #[test]
    fn missing_fields_say_the_least() {
        let status = Status::parse(b"");
        assert_eq!((status.state, status.tracer, status.seccomp), ('?', 0, 0));
        assert_eq!(status.uids.effective, u32::MAX);
    }

    #[test]
    fn command_lines_are_split() {
        assert_eq!(parse_command_line(b"a\0b c\0"), [b"a".to_vec(), b"b c".to_vec()]);
        assert_eq!(parse_command_line(b"a\0\0"), [b"a".to_vec(), b"".to_vec()]);
        assert_eq!(parse_command_line(b"title of it\0\0\0\0"), [b"title of it".to_vec()]);
        assert_eq!(parse_command_line(b"title"), [b"title".to_vec()]);
        assert!(parse_command_line(b"").is_empty() && parse_command_line(&[0; 9]).is_empty());
    }

    #[test]
    fn our_own_process_is_read() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let (stat, status) = (Stat::of(pid).unwrap(), Status::of(pid).unwrap());
        assert_eq!((stat.pid, stat.ppid, stat.pid), (pid, status.ppid, status.pid));
        assert!(status.threads >= 1 && stat.threads >= 1);
        assert!(stat.age(uptime().unwrap()) < Duration::from_secs(3600));
        assert!(!command_line(pid).unwrap().is_empty());
        assert!(name(pid).unwrap().len() <= 15);
        assert_ne!(Status::own().unwrap().uids.effective, u32::MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_panic(bytes: Vec<u8>) {
            Stat::parse(&bytes);
            Status::parse(&bytes);
            parse_command_line(&bytes);
            parse_uptime(&bytes);
        }

        #[test]
        fn any_name_is_read_back(comm in proptest::collection::vec(1_u8.., 0..16)) {
            let line = [b"7 (", &comm[..], &STAT[13..]].concat();
            let stat = Stat::parse(&line).expect("a line");
            prop_assert_eq!(stat.comm, comm);
            prop_assert_eq!(stat.start_ticks, 98765);
        }

        #[test]
        fn nothing_of_an_argument_is_lost(
            arguments in proptest::collection::vec(proptest::collection::vec(1_u8.., 1..9), 1..5)
        ) {
            let mut bytes = Vec::new();
            for argument in &arguments {
                bytes.extend_from_slice(argument);
                bytes.push(0);
            }
            prop_assert_eq!(parse_command_line(&bytes), arguments);
        }
    }
}

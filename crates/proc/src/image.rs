//! Since when a process runs what it runs.
//!
//! A worker is often a copy of a process that loaded its code long before: what counts for the code is the start of the
//! first of them. The kernel tells when a process was made, not when it began its program, so the copies are recognised
//! by their auxiliary vectors: those hold addresses that are drawn anew for each program that is begun. Of another user's
//! process these may not be read, and its name decides.

use std::io;
use std::time::{Duration, SystemTime};

use crate::bounded;
use crate::stat::{self, Stat};

/// More generations than any server has.
const GENERATIONS: usize = 64;
/// `starttime` is cut to this, and so is the time since the machine started.
const TICK: Duration = Duration::from_millis(10);

/// When the program that a process runs was begun: in it, or in the process that it is a copy of. Up to 20 ms late,
/// never early; a first process that has ended is not known.
pub fn begun(pid: i32) -> io::Result<SystemTime> {
    let age = first(pid)?.age(stat::uptime()?);
    Ok(SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH) + TICK)
}

/// The first process that ran what this one runs.
fn first(pid: i32) -> io::Result<Stat> {
    let mut first = Stat::of(pid)?;
    let image = auxiliary(pid).ok();
    for _ in 0..GENERATIONS {
        let Ok(parent) = Stat::of(first.ppid) else { break };
        let same = match (&image, auxiliary(parent.pid)) {
            (Some(own), Ok(other)) => *own == other,
            // Those of another user may not be read: then the name that a program gives a process tells, or what it
            // has as its command.
            (_, Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                first.comm == parent.comm || same_command(first.pid, parent.pid)
            }
            _ => false,
        };
        if !same {
            break;
        }
        first = parent;
    }
    Ok(first)
}

fn same_command(pid: i32, other: i32) -> bool {
    match (stat::command_line(pid), stat::command_line(other)) {
        (Ok(one), Ok(two)) => !one.is_empty() && one.first() == two.first(),
        _ => false,
    }
}

fn auxiliary(pid: i32) -> io::Result<Vec<u8>> {
    bounded::read(format!("/proc/{pid}/auxv"), 4096)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_copy_is_as_old_as_what_it_is_a_copy_of() {
        // The inner shell is a copy of the outer one, and tells its number.
        let mut shell = Command::new("sh")
            .args(["-c", "exec 3<&0; (read line <&3; :) & echo $!; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = shell.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).unwrap();
        let outer = i32::try_from(shell.id()).unwrap();
        let inner: i32 = line.trim().parse().unwrap();
        assert_eq!(first(inner).unwrap().pid, outer);
        assert_eq!(first(outer).unwrap().pid, outer);
        assert!(begun(inner).unwrap() <= SystemTime::now() + TICK);
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}

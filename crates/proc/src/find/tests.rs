use std::process::{Child, Command, Stdio};

use super::*;

fn process(pid: i32, ppid: i32, line: &[&[u8]]) -> Process {
    Process {
        pid,
        ppid,
        uid: 1000,
        state: 'S',
        threads: 1,
        start_ticks: 0,
        age: Duration::ZERO,
        command_line: line.iter().map(|word| word.to_vec()).collect(),
    }
}

/// A child that waits on its stdin, and is gone with the test.
struct Waiting(Child);

impl Waiting {
    fn start() -> Self {
        let mut command = Command::new("cat");
        command.args(["-", "/dev/null/spyhole-find-test"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn patterns_are_plain_case_sensitive_substrings_of_the_joined_line() {
    let one = process(1, 0, &[b"python3", b"manage.py", b"run\xffserver"]);
    for (pattern, matches) in [
        (&b"manage.py"[..], true),
        (b"python3 manage", true),
        (b"\xffserver", true),
        (b"Manage", false),
        (b"manage?py", false),
        (b"", true),
    ] {
        assert_eq!(one.matches(pattern), matches, "{pattern:?}");
    }
    assert!(!process(2, 0, &[]).matches(b"x"));
}

#[test]
fn we_and_our_ancestors_never_match() {
    let viewer = Viewer { uid: 0, lineage: vec![30, 20, 1] };
    let all = [
        process(1, 0, &[b"python"]),
        process(20, 1, &[b"sh -c spyhole eval python"]),
        process(30, 20, &[b"spyhole eval python"]),
        process(40, 20, &[b"python"]),
    ];
    let pids: Vec<i32> = matching(&all, &viewer, b"python").iter().map(|one| one.pid).collect();
    assert_eq!(pids, [40]);
}

#[test]
fn others_processes_are_roots_to_see() {
    let own = process(5, 1, &[b"x"]);
    assert!(Viewer { uid: 0, lineage: vec![] }.sees(&own));
    assert!(Viewer { uid: 1000, lineage: vec![] }.sees(&own));
    assert!(!Viewer { uid: 1001, lineage: vec![] }.sees(&own));
}

#[test]
fn descendants_come_after_their_parents_and_cycles_end() {
    let all = [
        process(4, 3, &[]),
        process(2, 1, &[]),
        process(3, 1, &[]),
        process(5, 3, &[]),
        process(6, 2, &[]),
        process(8, 9, &[]),
        process(9, 8, &[]),
        process(1, 6, &[]),
    ];
    let pids = |pid| descendants(&all, pid).iter().map(|one| one.pid).collect::<Vec<_>>();
    assert_eq!(pids(1), [1, 2, 6, 3, 4, 5]);
    assert_eq!(pids(3), [3, 4, 5]);
    assert_eq!(pids(8), [8, 9]);
    assert!(pids(77).is_empty());
}

#[test]
fn this_machine_lists_our_child_and_our_lineage() {
    let child = Waiting::start();
    let viewer = Viewer::this_process().unwrap();
    assert_eq!(viewer.lineage[0], i32::try_from(std::process::id()).unwrap());
    let all = list(&viewer).unwrap();
    assert!(all.is_sorted_by_key(|one| one.pid));
    let found = all.iter().find(|one| one.pid == child.pid()).unwrap();
    assert_eq!(found.ppid, viewer.lineage[0]);
    let tree = descendants(&all, viewer.lineage[0]);
    assert!(tree.iter().any(|one| one.pid == child.pid()));
    assert_eq!(Process::of(child.pid()).unwrap().start_ticks, found.start_ticks);
    assert!(Process::of(i32::MAX).is_err());
}

#[test]
fn a_file_is_looked_at_once_and_the_executable_first() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let (one, two) = (Waiting::start(), Waiting::start());
    let looks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looks);
    let mut executables = Recogniser::new(&[], move |file| {
        count.fetch_add(1, Ordering::SeqCst);
        file.open().ok().map(|_| "cat")
    });
    assert_eq!(
        executables.recognise(one.pid()),
        Some(("cat", MappedFile::Executable { pid: one.pid() }))
    );
    assert!(executables.recognise(two.pid()).is_some());
    assert_eq!(looks.load(Ordering::SeqCst), 1);
    assert_eq!(executables.recognise(i32::MAX), None);
}

#[test]
fn a_library_is_found_by_name_and_opened_by_identity() {
    // Our own process has a C library mapped; the executable is said to be nothing.
    let pid = i32::try_from(std::process::id()).unwrap();
    let mut libraries = Recogniser::new(&[b"libc.so", b"libc-2"], |file| match file {
        MappedFile::Executable { .. } => None,
        MappedFile::Library { mapping, .. } => {
            let inode = std::os::unix::fs::MetadataExt::ino(&file.open().ok()?.metadata().ok()?);
            (inode == mapping.inode).then_some(())
        }
    });
    let ((), file) = libraries.recognise(pid).unwrap();
    assert!(matches!(file, MappedFile::Library { .. }));
    let mut none = Recogniser::new(&[b"libnothing"], |file| {
        matches!(file, MappedFile::Library { .. }).then_some(())
    });
    assert!(none.recognise(pid).is_none());
}

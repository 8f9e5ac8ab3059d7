use super::*;
use crate::fingerprint::{Descriptor, parse_mappings};

const BEFORE: &str = "\
00400000-00500000 r-xp 00000000 fe:01 7                          /usr/bin/python3
00700000-00800000 rw-p 00000000 00:00 0                          [heap]
7f0010000000-7f0010100000 rw-p 00000000 00:00 0
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                  [stack]
";

fn still(maps: &str) -> Fingerprint {
    let mut fingerprint =
        Fingerprint { pid: 10, mappings: parse_mappings(maps), ..Fingerprint::default() };
    fingerprint
        .threads
        .insert(10, Thread { name: "python3".into(), state: 'S', ..Thread::default() });
    fingerprint.descriptors.insert(0, Descriptor { link: "/dev/null".into(), flags: "0".into() });
    fingerprint
}

fn with(lines: &str) -> Fingerprint {
    let mut after = still(&format!("{BEFORE}{lines}"));
    after.mappings.sort_by_key(|mapping| mapping.start);
    after
}

#[track_caller]
fn fails(after: &Fingerprint, part: &str) {
    let changes = unchanged(&still(BEFORE), after).expect_err("a change");
    assert!(changes.to_string().contains(part), "{changes}");
}

#[test]
fn the_same_twice_is_unchanged() {
    assert_eq!(unchanged(&still(BEFORE), &still(BEFORE)), Ok(Kept::default()));
}

#[test]
fn one_arena_and_one_stack_with_its_guard_are_exempt_even_when_merged() {
    // The arena's reserve and the guard page above it are one line of `maps`; so are the stack and
    // the memory above it that was there before.
    let after = still(
        "\
00400000-00500000 r-xp 00000000 fe:01 7                          /usr/bin/python3
00700000-00810000 rw-p 00000000 00:00 0                          [heap]
7f0008000000-7f0008021000 rw-p 00000000 00:00 0
7f0008021000-7f000c001000 ---p 00000000 00:00 0
7f000c001000-7f000c041000 rw-p 00000000 00:00 0
7f0010000000-7f0010080000 rw-p 00000000 00:00 0
7f0010080000-7f0010100000 rw-p 00000000 00:00 0
7ffbffff0000-7ffc00021000 rw-p 00000000 00:00 0                  [stack]
",
    );
    let kept = unchanged(&still(BEFORE), &after).unwrap();
    assert_eq!(
        kept.exempt,
        [
            Exempt::Heap { by: 0x10000 },
            Exempt::MainStack { by: 0x10000 },
            Exempt::Arena { start: 0x7f00_0800_0000 },
            Exempt::CachedStack { start: 0x7f00_0c00_0000, size: 0x41000 },
        ]
    );
}

#[test]
fn a_second_arena_is_a_change() {
    let arenas = "\
7f0008000000-7f0008021000 rw-p 00000000 00:00 0
7f0008021000-7f000c000000 ---p 00000000 00:00 0
7f000c000000-7f000c021000 rw-p 00000000 00:00 0
7f000c021000-7f0010000000 ---p 00000000 00:00 0
";
    fails(&with(arenas), "7f000c000000");
}

#[test]
fn an_arena_that_grows_into_its_reserve_is_exempt() {
    let arena = |border: &str| {
        with(&format!(
            "7f0008000000-{border} rw-p 00000000 00:00 0\n{border}-7f000c000000 ---p 00000000 00:00 0\n"
        ))
    };
    let kept = unchanged(&arena("7f0008021000"), &arena("7f0008042000")).unwrap();
    assert_eq!(kept.exempt, [Exempt::ArenaResized { start: 0x7f00_0800_0000 }]);
}

#[test]
fn pages_that_stay_are_changes() {
    fails(&with("7f0020000000-7f0020001000 r-xp 00000000 00:00 0\n"), "r-xp anonymous");
    fails(&with("7f0020000000-7f0020010000 rw-p 00000000 00:00 0\n"), "new memory 7f0020000000");
    fails(&with("7f0020000000-7f0020001000 r--p 00000000 fe:01 9 /lib/x.so\n"), "/lib/x.so");
    fails(&still(&BEFORE.replace("r-xp", "rwxp")), "was r-xp /usr/bin/python3 and is rwxp");
}

#[test]
fn code_that_stays_is_a_change_for_a_busy_process_too() {
    let before = still(BEFORE);
    let code = with("7f0020000000-7f0020001000 r-xp 00000000 00:00 0\n");
    assert!(Rules::BUSY.compare(&before, &code).is_err());
    let memory = with("7f0020000000-7f0020100000 rw-p 00000000 00:00 0\n");
    assert!(Rules::BUSY.compare(&before, &memory).is_ok());
}

#[test]
fn threads_signals_and_descriptors_are_compared() {
    let mut after = still(BEFORE);
    after.threads.insert(11, Thread { name: "x".into(), state: 'S', ..Thread::default() });
    fails(&after, "new thread 11 `x`");

    let mut after = still(BEFORE);
    after.threads.get_mut(&10).unwrap().state = 't';
    after.threads.get_mut(&10).unwrap().tracer = 99;
    fails(&after, "is stopped (t)");
    fails(&after, "is traced by 99");

    let mut after = still(BEFORE);
    after.threads.get_mut(&10).unwrap().blocked = 2;
    fails(&after, "blocked signals were 0000000000000000, are 0000000000000002");

    let mut after = still(BEFORE);
    after.descriptors.insert(3, Descriptor { link: "socket:[5]".into(), flags: "2".into() });
    fails(&after, "new descriptor 3: socket:[5]");
    assert!(Rules::BUSY.compare(&still(BEFORE), &after).is_err());
}

#[test]
fn the_handler_of_glibc_itself_is_exempt() {
    let mut after = still(BEFORE);
    after.threads.get_mut(&10).unwrap().caught = 1 << 32;
    assert_eq!(unchanged(&still(BEFORE), &after).unwrap().exempt, [Exempt::SetxidHandler]);
}

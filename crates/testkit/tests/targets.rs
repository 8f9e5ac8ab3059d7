//! Every target is what its docstring says, on every interpreter: it gets ready, and the still ones
//! are still. Without this the live tests would prove nothing.

use std::time::Duration;

use spyhole_testkit::interpreters::{Interpreter, interpreters};
use spyhole_testkit::{Fingerprint, Rules, Start, Target, TargetError, census, hostile, unchanged};

/// Blocked, with nothing going on.
const STILL: &[&str] = &[
    "sleep",
    "accept",
    "select_wait",
    "epoll",
    "lock",
    "subprocess_wait",
    "quiet",
    "threads200",
    "worker",
    "hostile",
    "exit_at",
];

/// At work.
const BUSY: &[&str] = &["busy", "malloc", "fork", "starting"];

/// Serve commands.
const SERVING: &[&str] = &["quiet", "threads200", "worker", "hostile", "exit_at"];

fn each(name: &str, test: impl Fn(&Interpreter)) {
    for interpreter in interpreters() {
        println!("on {}", interpreter.full_version());
        test(&interpreter);
        census::covered(name, &interpreter);
    }
}

fn start(interpreter: &Interpreter, name: &str) -> Target {
    Target::start(interpreter, name)
        .unwrap_or_else(|error| panic!("{name} on {}: {error}", interpreter.full_version()))
}

#[test]
fn still_targets_are_still() {
    each("still_targets_are_still", |interpreter| {
        for name in STILL {
            let mut target = start(interpreter, name);
            let before = target.blocked().unwrap();
            let kept = unchanged(&before, &Fingerprint::of(target.pid()).unwrap())
                .unwrap_or_else(|changes| panic!("{name}: {changes}"));
            assert!(kept.exempt.is_empty(), "{name}: {kept}");
            assert!(target.is_alive(), "{name}");
        }
    });
}

#[test]
fn busy_targets_go_on_and_touch_nothing_but_their_own() {
    each("busy_targets_go_on_and_touch_nothing_but_their_own", |interpreter| {
        for name in BUSY {
            let mut target = start(interpreter, name);
            if *name == "starting" {
                // It maps libraries, which is what it is for.
                assert!(target.is_alive());
                continue;
            }
            let before = Fingerprint::of(target.pid()).unwrap();
            for _ in 0..10 {
                Rules::BUSY
                    .compare(&before, &Fingerprint::of(target.pid()).unwrap())
                    .unwrap_or_else(|changes| panic!("{name}: {changes}"));
            }
            assert!(target.is_alive(), "{name}: {}", target.stderr());
        }
    });
}

#[test]
fn serving_targets_tell_the_same_of_themselves_twice() {
    each("serving_targets_tell_the_same_of_themselves_twice", |interpreter| {
        for name in SERVING {
            let mut target = start(interpreter, name);
            let before = target.inside().unwrap();
            assert_eq!(target.evaluate("answer").unwrap(), "42");
            let differences = before.differences(&target.inside().unwrap());
            assert!(differences.is_empty(), "{name}: {differences:?}");
        }
    });
}

#[test]
fn a_bare_interpreter_stays_bare() {
    each("a_bare_interpreter_stays_bare", |interpreter| {
        let mut target = Start::new(interpreter, "quiet").flags(["-I", "-S"]).start().unwrap();
        let before = target.blocked().unwrap();
        let inside = target.inside().unwrap();
        for absent in ["os", "site", "json", "threading", "gc", "re"] {
            assert!(!inside.modules().contains(absent), "{absent}");
        }
        target.inside().unwrap();
        target.blocked().unwrap();
        let kept = unchanged(&before, &Fingerprint::of(target.pid()).unwrap()).unwrap();
        println!("  kept: {kept}");
    });
}

#[test]
fn a_change_is_seen_from_inside_and_from_outside() {
    each("a_change_is_seen_from_inside_and_from_outside", |interpreter| {
        let mut target = start(interpreter, "worker");
        let before = target.blocked().unwrap();
        let inside = target.inside().unwrap();
        target.ask("exec import threading, time, socket; kept = socket.socketpair()").unwrap();
        target
            .ask("exec threading.Thread(target=time.sleep, args=(600,), daemon=True).start()")
            .unwrap();
        let changes = unchanged(&before, &Fingerprint::of(target.pid()).unwrap()).unwrap_err();
        let text = changes.to_string();
        assert!(text.contains("new thread") && text.contains("socket:["), "{text}");
        let differences = inside.differences(&target.inside().unwrap()).join("\n");
        assert!(
            differences.contains("\"socket\"") && differences.contains("`main`"),
            "{differences}"
        );
    });
}

#[test]
fn a_thread_that_came_and_went_leaves_only_what_is_exempt() {
    each("a_thread_that_came_and_went_leaves_only_what_is_exempt", |interpreter| {
        let mut target = start(interpreter, "quiet");
        // What answering itself takes is there before.
        target.ask("exec import _thread").unwrap();
        // Python ends its own threads with `pthread_exit`, which maps the unwinder for good.
        let unwinder = "exec import ctypes; ctypes.CDLL('libgcc_s.so.1')";
        assert_eq!(target.ask(unwinder).unwrap(), "\"done\"");
        let before = target.blocked().unwrap();
        let inside = target.inside().unwrap();
        target.ask("exec _thread.start_new_thread(bytearray, (100000,))").unwrap();
        let kept = Rules::STILL
            .settle(&before, Duration::from_secs(5))
            .unwrap_or_else(|error| panic!("{}: {error}", interpreter.full_version()));
        println!("  kept: {kept}");
        assert_eq!(inside.differences(&target.inside().unwrap()), Vec::<String>::new());
        // The next thread takes what the last one left.
        let again = Fingerprint::of(target.pid()).unwrap();
        target.ask("exec _thread.start_new_thread(bytearray, (100000,))").unwrap();
        let kept = Rules { arenas: 0, stacks: 0, ..Rules::STILL }
            .settle(&again, Duration::from_secs(5))
            .unwrap_or_else(|error| panic!("{}: {error}", interpreter.full_version()));
        println!("  kept again: {kept}");
    });
}

#[test]
fn printers_lose_no_line() {
    each("printers_lose_no_line", |interpreter| {
        let folder = interpreter.root.clone().unwrap_or_else(|| "/".into());
        let name = format!("/tmp/printing.{}.{}", std::process::id(), interpreter.minor());
        let mut target = Start::new(interpreter, "printing").args([&name]).start().unwrap();
        target.inside().unwrap();
        let counts = target.ask("exit").unwrap();
        assert!(target.wait_exit(Duration::from_secs(20)).unwrap().success());
        let path = folder.join(&name[1..]);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for printer in ["fresh", "cached"] {
            let numbers: Vec<usize> = text
                .lines()
                .filter_map(|line| line.strip_prefix(printer)?.trim().parse().ok())
                .collect();
            assert!(numbers.iter().copied().eq(0..numbers.len()), "{printer}: {numbers:?}");
            assert!(counts.contains(&format!("\"{printer}\":{}", numbers.len())), "{counts}");
        }
    });
}

#[test]
fn the_hostile_target_is_hostile() {
    each("the_hostile_target_is_hostile", |interpreter| {
        let mut target =
            Start::new(interpreter, "hostile").args(hostile::arguments()).start().unwrap();
        let line = std::fs::read(format!("/proc/{}/cmdline", target.pid())).unwrap();
        assert!(line.windows(4).any(|part| part == b"\x1b[2J") && line.contains(&0xff));
        let name = std::fs::read(format!("/proc/{}/comm", target.pid())).unwrap();
        assert!(interpreter.root.is_some() || name.starts_with(b") R 1\n\x1b[31m"), "{name:?}");
        assert!(target.evaluate("raises").unwrap_or_default().is_empty());
        assert!(target.evaluate("named").unwrap().contains("\u{1b}[2J"));
    });
}

#[test]
fn targets_end_in_the_way_they_were_asked_to() {
    use std::os::unix::process::ExitStatusExt;
    each("targets_end_in_the_way_they_were_asked_to", |interpreter| {
        for (how, code, signal) in [
            ("return", Some(0), None),
            ("exit 3", Some(3), None),
            ("_exit 4", Some(4), None),
            ("raise", Some(1), None),
            ("kill", None, Some(9)),
        ] {
            let mut target = start(interpreter, "exit_at");
            target.send(how).unwrap();
            let status = target.wait_exit(Duration::from_secs(20)).unwrap();
            assert_eq!((status.code(), status.signal()), (code, signal), "{how}");
        }
    });
}

#[test]
fn a_target_whose_time_is_over_is_killed() {
    let interpreter = interpreters().pop().expect("an interpreter");
    let mut target =
        Start::new(&interpreter, "sleep").limit(Duration::from_millis(500)).start().unwrap();
    assert!(matches!(target.receive(), Err(TargetError::TimedOut { .. })));
}

#[test]
fn patched_targets_run_where_their_packages_are() {
    for interpreter in interpreters() {
        for name in ["gevent_patched", "eventlet_patched"] {
            match interpreter.with_packages() {
                Some(prepared) => {
                    start(&prepared, name);
                    census::covered(name, &prepared);
                }
                None => census::skipped(name, &format!("not on {}", interpreter.minor())),
            }
        }
    }
}

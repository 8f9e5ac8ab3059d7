//! Every target is what its docstring says, on every interpreter: it gets ready, and the still ones
//! are still. Without this the live tests would prove nothing.

use std::time::Duration;

use spyhole_testkit::interpreters::{Interpreter, interpreters};
use spyhole_testkit::{Fingerprint, Rules, Start, Target, TargetError, unchanged};

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

fn each(test: impl Fn(&Interpreter)) {
    for interpreter in interpreters() {
        println!("on {}", interpreter.full_version());
        test(&interpreter);
    }
}

fn start(interpreter: &Interpreter, name: &str) -> Target {
    Target::start(interpreter, name)
        .unwrap_or_else(|error| panic!("{name} on {}: {error}", interpreter.full_version()))
}

/// A target that said `ready` may still be on its way into the call that it blocks in.
fn blocked(target: &Target) -> Fingerprint {
    let mut last = Fingerprint::of(target.pid()).unwrap();
    loop {
        let now = Fingerprint::of(target.pid()).unwrap();
        let asleep = now.threads.values().all(|thread| thread.state == 'S');
        if asleep && unchanged(&last, &now).is_ok_and(|kept| kept.exempt.is_empty()) {
            return now;
        }
        last = now;
    }
}

#[test]
fn still_targets_are_still() {
    each(|interpreter| {
        for name in STILL {
            let mut target = start(interpreter, name);
            let before = blocked(&target);
            let kept = unchanged(&before, &Fingerprint::of(target.pid()).unwrap())
                .unwrap_or_else(|changes| panic!("{name}: {changes}"));
            assert!(kept.exempt.is_empty(), "{name}: {kept}");
            assert!(target.is_alive(), "{name}");
        }
    });
}

#[test]
fn busy_targets_go_on_and_touch_nothing_but_their_own() {
    each(|interpreter| {
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
    each(|interpreter| {
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
    each(|interpreter| {
        let mut target = Start::new(interpreter, "quiet").flags(["-I", "-S"]).start().unwrap();
        let before = blocked(&target);
        let inside = target.inside().unwrap();
        for absent in ["os", "site", "json", "threading", "gc", "re"] {
            assert!(!inside.modules().contains(absent), "{absent}");
        }
        target.inside().unwrap();
        blocked(&target);
        let kept = unchanged(&before, &Fingerprint::of(target.pid()).unwrap()).unwrap();
        println!("  kept: {kept}");
    });
}

#[test]
fn a_change_is_seen_from_inside_and_from_outside() {
    each(|interpreter| {
        let mut target = start(interpreter, "worker");
        let before = blocked(&target);
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
fn printers_lose_no_line() {
    each(|interpreter| {
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
fn targets_end_in_the_way_they_were_asked_to() {
    use std::os::unix::process::ExitStatusExt;
    each(|interpreter| {
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
            if let Some(prepared) = interpreter.with_packages() {
                start(&prepared, name);
                println!("{name} on {}", interpreter.full_version());
            }
        }
    }
}

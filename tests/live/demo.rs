//! `demo`, with each version as the `python3` on PATH.

use std::os::unix::fs::symlink;

use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, census};

use crate::program::{Running, spyhole};

fn walks_through(python: &Interpreter) {
    if python.root.is_some() {
        census::skipped(
            "demo",
            "this version lies in a root of its own, and PATH does not lead there",
        );
        return;
    }
    let folder = std::env::temp_dir().join(format!(
        "spyhole-demo-{}-{}",
        std::process::id(),
        python.minor()
    ));
    std::fs::create_dir_all(&folder).expect("it can be made");
    symlink(&python.path, folder.join("python3")).expect("it can be linked");
    let mut command = spyhole();
    let ran = Running::start(command.arg("demo").env("PATH", &folder)).wait();
    let mut serving = Running::start(spyhole().args(["demo", "--serve"]).env("PATH", &folder));
    let line = serving.line();
    let pid: i32 = line.strip_prefix("PID ").and_then(|pid| pid.parse().ok()).expect("a pid");
    let rung = crate::program::run([
        "eval",
        &pid.to_string(),
        "shop.admin.site.registry['shop.Order']",
        "--door",
        "doorbell",
    ]);
    let answer = crate::program::eval(pid, "import sys; sys.version_info[:2]");
    serving.signal(Signal::INT);
    let served = serving.wait();
    std::fs::remove_dir_all(&folder).expect("it can be removed");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.data.contains(" differs (1 of 4):\n"), "{}", ran.data);
    assert_eq!(ran.talk.matches(" as it was (held ").count(), 6, "{}", ran.talk);
    rung.gave("'OrderAdmin'\n");
    answer.gave(&format!("({}, {})\n", python.version.0, python.version.1));
    assert_eq!(served.code, 0, "{served:?}");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the worker has ended");
}

on_all! { walks_through }

//! Doors that applications leave, rung by the program: the tests are Python's, since the programs are.

use std::process::Command;
use std::time::Duration;

use spyhole_testkit::{Interpreter, Start, census, limited};

use crate::containers::is_allowed;
use crate::program::{run, run_with_input};
use crate::subjects::Subject;

/// For all of them together; each wait within has a limit of its own.
const LIMIT: Duration = Duration::from_secs(1200);

fn doors_of_applications(python: &Interpreter) {
    python_tests(python, "test_doorbell.py");
}

fn consoles_on_sockets(python: &Interpreter) {
    python_tests(python, "test_socket_console.py");
}

fn shells_of_commands(python: &Interpreter) {
    python_tests(python, "test_ispy*.py");
}

fn python_tests(python: &Interpreter, file: &str) {
    let Some(python) = python.with_packages() else {
        census::skipped(
            "doorbell",
            "no environment with the packages: `cargo xtask venvs` makes it",
        );
        return;
    };
    let tests = spyhole_testkit::place::workspace().join("crates/agent/python/tests");
    let mut command = Command::new(&python.path);
    command
        .args(["-B", "-m", "unittest", "discover", "-p", file, "-s"])
        .arg(&tests)
        .env("PYTHONPATH", tests.with_file_name(""))
        .env("SPYHOLE_PROGRAM", env!("CARGO_BIN_EXE_spyhole"));
    let ended = limited::run(&mut command, LIMIT).expect("it ends in time");
    assert!(ended.success(), "{}", ended.stderr_text());
}

/// Makes `import spyhole` find the package's files in what is sent as text, in a root that does not have them.
const CARRIED: &str = "from importlib.machinery import ModuleSpec
class Carried(object):
    sources = SOURCES
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return ModuleSpec(name, cls, is_package=name == 'spyhole') if name in cls.sources else None
    @classmethod
    def create_module(cls, spec):
        return None
    @classmethod
    def exec_module(cls, module):
        exec(compile(cls.sources[module.__name__], module.__name__, 'exec', 0, True), module.__dict__)
sys.meta_path.insert(0, Carried)
import spyhole
spyhole.install(locals={'given': 43})
";

/// On every version the program rings, evaluates, has a prompt, and closes the door.
fn a_process_is_rung(python: &Interpreter) {
    let mut start = Start::new(python, "quiet");
    if let Some(root) = &python.root {
        // The process asks /proc for its own name.
        let mount = format!("--mount-proc={}", root.join("proc").display());
        let namespaces = ["--pid", mount.as_str()];
        if !is_allowed(&namespaces) {
            return census::skipped("a_process_is_rung", "no right to make namespaces");
        }
        start = start.within(namespaces);
    }
    let Some(mut target) = Subject::optional("a_process_is_rung", start) else { return };
    let pid = target.pid().to_string();
    let sources: serde_json::Map<_, _> = spyhole_session::live::DOORBELL
        .iter()
        .map(|(name, source)| ((*name).to_owned(), (*source).into()))
        .collect();
    let code = CARRIED.replace("SOURCES", &serde_json::Value::from(sources).to_string());
    let code = serde_json::Value::from(code).to_string();
    let told = target.ask(&format!("exec import sys; exec({code})")).expect("it is installed");
    assert_eq!(told, "\"done\"");
    let rows = run(["ps", "--json"]).json();
    let row = rows.as_array().expect("a list").iter().find(|row| row["pid"] == target.pid());
    assert_eq!(row.expect("it is listed")["ask"]["door"], "doorbell");
    let by_bell = ["--door", "doorbell"];
    run(["eval", &pid, "given, words"].into_iter().chain(by_bell)).gave("(43, ['spy', 'hole'])\n");
    let words = ["console", &pid, "--no-history", "--door", "doorbell"];
    let ran = run_with_input(&words, "def twice(x):\n    return 2 * x\n\ntwice(given)\n1/0\n");
    ran.gave("86\n");
    assert!(ran.talk.contains("ZeroDivisionError: division by zero\n"), "{ran:?}");
    let ran =
        run(["eval", &pid, "while True: pass", "--timeout", "300ms"].into_iter().chain(by_bell));
    ran.failed(1, "timed out after 300ms");
    assert_eq!(run(["close", &pid]).code, 0);
    assert_eq!(target.evaluate("words").expect("it goes on"), "['spy', 'hole']");
}

each! { on, doors_of_applications, py36 = "3.6", py313 = "3.13" }
each! { on, shells_of_commands, py36 = "3.6", py313 = "3.13" }
each! { on, consoles_on_sockets, py36 = "3.6", py313 = "3.13" }
on_all! { a_process_is_rung }

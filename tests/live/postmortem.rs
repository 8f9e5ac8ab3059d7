//! `postmortem`: pdb on an exception that is kept; the program goes on, whatever is done there.

use std::process::Stdio;

use spyhole_testkit::Interpreter;
use spyhole_testkit::target::Signal;

use crate::catch::{Catch, raising};
use crate::program::{Ran, Running, run_with_input, spyhole};
use crate::subjects::Subject;

const COMMANDS: &str = "p self, limit\nup\np item.number * 2\n!mine = 6\np mine\nwhere\nb checked\n\
         p __import__('sys').stdin.readline()\nanswer\ninteract\nnumber + 1\nfor x in 'ab': print(x)\n\n\
         print(open('/proc/self/comm').read())\nquit\n";

/// A process that has pdb already, with one exception that is kept.
fn subject(python: &Interpreter) -> (Subject, Catch) {
    let mut subject = raising(python);
    subject.ask("exec import pdb, code").expect("it answers");
    // What the first session makes for good is there before.
    let mut catch = Catch::of(subject.pid(), "__main__:checked", &[]);
    subject.evaluate("work(5)").expect("it answers");
    catch.caught("ValueError", "('too many', 5)");
    debugged(subject.pid(), COMMANDS);
    catch.interrupt();
    let mut subject = subject.again().by_threads(6);
    let mut catch = Catch::of(subject.pid(), "__main__:checked", &[]);
    subject.evaluate("work(5)").expect("it answers");
    catch.caught("ValueError", "('too many', 5)");
    (subject, catch)
}

fn debugged(pid: i32, lines: &str) -> Ran {
    let ran = run_with_input(&["postmortem", &pid.to_string(), "1"], lines);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// It waits for lines on a pipe.
struct Open(Running);

impl Open {
    fn on(pid: i32) -> Self {
        let mut command = spyhole();
        command.args(["postmortem", &pid.to_string(), "1"]);
        let mut open = Self(Running::start(command.stdin(Stdio::piped())));
        assert_eq!(open.0.line(), "ValueError: ('too many', 5)");
        assert!(open.0.line().starts_with("> "));
        assert!(open.0.line().starts_with("-> raise ValueError"));
        open
    }

    /// What a command says in its first line.
    fn says(&mut self, command: &str) -> String {
        self.0.write(&format!("{command}\n"));
        self.0.line()
    }
}

/// Its commands, its variables, and its own prompts; nothing of it stays.
fn commands(python: &Interpreter) {
    let (mut subject, catch) = subject(python);
    let pid = subject.pid();
    let ran = debugged(pid, COMMANDS);
    let said = |text: &str| assert!(ran.data.contains(text), "`{text}` is not in {ran:?}");
    said("(<Item 5>, 2)\n");
    said("\n10\n");
    said("\n6\n");
    said("return item.check(limit)\n");
    said("Breakpoint 1 at ");
    said("'answer\\n'");
    said("a\nb\n");
    ran.left(pid);
    // The end of the input, and what would end a program.
    for lines in
        ["", "q\n", "!raise SystemExit(3)\np 4\n", "continue\n", "next\n", "EOF\n", "exit\n"]
    {
        let ran = debugged(pid, lines);
        ran.left(pid);
        assert_eq!(subject.evaluate("work(1)").expect("it goes on"), "'1'");
    }
    // `run` and `restart` end a program's debugger.
    for lines in ["run\np 4\n", "restart\np 4\n", "p nothing\np 4\n", "debug checked(1)\np 4\n"] {
        let ran = debugged(pid, lines);
        assert!(ran.data.ends_with("4\n"), "{ran:?}");
    }
    let number = pid.to_string();
    crate::program::run(["postmortem", &number, "99"]).failed(1, "there is no exception 99");
    catch.interrupt();
    crate::program::run(["postmortem", &number, "1"]).failed(1, "there is no exception 1");
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
    let bare = "[sys.gettrace(), __import__('bdb').Breakpoint.bplist, [n for n in globals() if '__pdb' in n], hasattr(__import__('builtins'), '_')]";
    let none = subject.evaluate(bare).expect("it answers");
    assert_eq!(none, "[None, {}, [], False]");
    subject.is_unchanged();
}

/// Ctrl-C ends a command and no more; a client that dies in the middle of one leaves nothing.
fn interrupted(python: &Interpreter) {
    let (mut subject, catch) = subject(python);
    let pid = subject.pid();
    let mut open = Open::on(pid);
    open.0.write("!print('begun'); exec('while True: pass')\n");
    assert_eq!(open.0.line(), "begun");
    open.0.signal(Signal::INT);
    let said = open.says("p number");
    assert!(said.contains("KeyboardInterrupt"), "{said}");
    assert!(open.0.line().contains("NameError"));
    assert_eq!(open.says("p limit"), "2");
    assert_eq!(subject.evaluate("work(1)").expect("it goes on"), "'1'");
    for line in ["p limit\n", "!print('begun'); exec('while True: pass')\n", "interact\n"] {
        let mut open = Open::on(pid);
        open.0.write(line);
        open.0.line();
        open.0.signal(Signal::KILL);
        open.0.wait_quietly();
        assert_eq!(subject.evaluate("work(1)").expect("it goes on"), "'1'");
    }
    open.0.signal(Signal::KILL);
    open.0.wait_quietly();
    catch.interrupt();
    assert_eq!(
        subject.evaluate("sys.gettrace(), sys.stdin.name").expect("it answers"),
        "(None, '<stdin>')"
    );
    assert_eq!(subject.evaluate("unchanged()").expect("it answers"), "True");
}

/// What catches may end while somebody debugs: what is debugged stays until then.
fn outlives_the_catch(python: &Interpreter) {
    let (mut subject, catch) = subject(python);
    let mut open = Open::on(subject.pid());
    assert_eq!(open.says("p limit"), "2");
    catch.interrupt();
    assert_eq!(open.says("p self"), "<Item 5>");
    let ran = open.0.wait();
    assert_eq!(ran.code, 0, "{ran:?}");
    subject.is_unchanged();
}

on_full_set! { commands }
on_three! { interrupted }
on_one! { outlives_the_catch }

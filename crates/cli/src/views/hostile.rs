//! One hostile process, through every view: not one of its bytes may command a terminal.

use std::time::Duration;

use spyhole_session::model::{
    Allowed, Answer, ErrorKind, EvalError, EvalReport, Group, InterpreterRow, InterpreterStacks,
    Left, Local, Outcome, Place, ProcessRow, ProcessStacks, Raised, Relation, Running, SourceLine,
    StackFrame, SyntaxPlace, ThreadStack, ThreadState, TraceFrame, Value,
};
use spyhole_session::objects::{
    self, Difference, Found, Item, Nowhere, ObjectAnswer, ObjectGroup, ObjectReport, Tree, What,
};
use spyhole_session::report::{Reported, Trouble, Verdict};
use spyhole_session::requests::{ServedBy, WebRequest};
use spyhole_session::snapshot::Look;
use spyhole_session::suspended::{
    GreenletRole, GreenletStack, GreenletState, TaskName, TaskStack, TaskState,
};
use spyhole_session::waits::{
    Deadlock, DeadlockKind, GreenletName, Line, Member, Owner, Owning, ThreadName, Wait, WaitKind,
    Who,
};

use super::clock::Moment;
use super::escape::is_dangerous;
use super::objects::{self as object_views, Extent};
use super::report as reports;
use super::stacks::Style;
use super::terminal::Terminal;
use super::text::Text;
use super::{answers, json, leaving, processes, requests, stacks, watch};
use crate::failure::Failure;

const EVIL: &str = "\x1b]0;gone\x07\x1b[2J\r\u{9b}31m\u{202e}drow\u{200b}\u{feff}\x7f\x00\u{e0041}";

fn evil() -> String {
    EVIL.to_owned()
}

fn frames() -> Vec<TraceFrame> {
    vec![TraceFrame {
        file: evil(),
        line: 1,
        function: evil(),
        columns: Some((0, 3)),
        text: Some(evil()),
    }]
}

fn error(kind: ErrorKind) -> EvalError {
    let raised = |relation| Raised {
        type_name: evil(),
        message: evil(),
        relation,
        frames: frames(),
        syntax: Some(SyntaxPlace { file: evil(), line: 1, column: 2, text: evil() }),
        notes: vec![evil()],
    };
    EvalError {
        kind,
        type_name: evil(),
        message: evil(),
        traceback: vec![raised(Some(Relation::Cause)), raised(None)],
        causes: vec![evil()],
        hints: vec![evil()],
    }
}

fn place(pid: i32) -> Place {
    Place { pid, interpreter: 0 }
}

fn answer(pid: i32, outcome: Outcome, group: usize) -> Answer {
    Answer {
        place: place(pid),
        outcome,
        stdout: evil(),
        stderr: evil(),
        output_cut: 3,
        duration: Duration::from_millis(1),
        group: Some(group),
        left: Some(Left {
            held: Duration::from_micros(300),
            kept: vec![evil()],
            still_running: vec![Running { job: 1, code: evil(), at: Some(evil()), thread: 2 }],
        }),
    }
}

fn value(repr: String) -> Outcome {
    Outcome::Value(Value {
        type_name: evil(),
        repr,
        is_none: false,
        truncated: true,
        key: None,
        json: Some(serde_json::json!({EVIL: [EVIL]})),
    })
}

fn report() -> EvalReport {
    let group = |repr: String, pids: &[i32], is_error| Group {
        repr,
        members: pids.iter().copied().map(place).collect(),
        is_error,
    };
    let long = format!("{{'{EVIL}': [{EVIL}], 'a': 1, '{}': 2}}", "x".repeat(100));
    EvalReport {
        code: evil(),
        answers: vec![
            answer(1, value(evil()), 0),
            answer(2, value(evil()), 0),
            answer(3, value(long.clone()), 1),
            answer(4, Outcome::Error(error(ErrorKind::Raised)), 2),
            answer(5, Outcome::Error(error(ErrorKind::AccessDenied)), 3),
        ],
        groups: vec![
            group(evil(), &[1, 2], false),
            group(long, &[3], false),
            group(evil(), &[4], true),
            group(evil(), &[5], true),
        ],
        not_loaded: vec![place(9)],
        passed_over: vec![],
    }
}

fn row() -> ProcessRow {
    let allowed = Allowed { ok: false, door: Some(evil()), reason: Some(evil()) };
    ProcessRow {
        pid: 1,
        namespace_pid: None,
        ppid: 0,
        user: evil(),
        python: Some(evil()),
        implementation: evil(),
        executable: Some(evil()),
        cmdline: vec![evil(), "a\nb".to_owned()],
        age: Duration::ZERO,
        threads: 1,
        interpreters: None,
        interpreter_list: Some(vec![InterpreterRow {
            id: 1,
            name: Some(evil()),
            modules: 3,
            packages: vec![evil()],
        }]),
        kind: Some(evil()),
        loaded: vec![evil()],
        groups: vec![evil()],
        look: allowed.clone(),
        ask: allowed,
    }
}

fn owning() -> Owning {
    let thread = ThreadName { native_id: Some(1), ident: 1, name: Some(evil()) };
    let taken = Some(Line { function: Some(evil()), file: Some(evil()), line: Some(1) });
    Owning { thread, taken }
}

fn wait() -> Wait {
    Wait { kind: WaitKind::Lock, what: evil(), owner: Owner::Thread(owning()), tasks: Vec::new() }
}

fn deadlock() -> Deadlock {
    let Owning { thread, taken } = owning();
    let who = Who::Thread(thread);
    let one = Member { who, holds: evil(), wants: evil(), now: taken.clone(), taken };
    let task = Who::Task(TaskName { id: 1, name: Some(evil()) });
    let greenlet = Who::Greenlet(GreenletName { id: 1, name: Some(evil()) });
    let others = [task, greenlet].map(|who| Member { who, taken: None, ..one.clone() });
    Deadlock { kind: DeadlockKind::Threads, members: [vec![one], others.to_vec()].concat() }
}

fn process() -> ProcessStacks {
    let frame = StackFrame {
        function: Some(EVIL.into()),
        module: Some(EVIL.into()),
        file: Some(EVIL.into()),
        line: Some(1),
        end_line: Some(1),
        column: Some(2),
        end_column: Some(9),
        source: SourceLine::Text(EVIL.into()),
        locals: vec![Local {
            name: evil().into(),
            type_name: evil().into(),
            repr: evil().into(),
            truncated: true,
        }],
        locals_cut: true,
    };
    let awaited = TaskName { id: 2, name: Some(evil()) };
    let task = TaskStack {
        id: 2,
        name: Some(evil()),
        coroutine: Some(evil()),
        state: TaskState::Waiting,
        event_loop: 1,
        thread: None,
        awaits: Some(Wait {
            owner: Owner::Task(awaited.clone(), owning().taken),
            tasks: vec![awaited.clone()],
            ..wait()
        }),
        awaited_by: vec![awaited],
        torn: true,
        cut: true,
        frames: vec![frame.clone()],
    };
    let greenlet = GreenletStack {
        id: 3,
        name: Some(evil()),
        type_name: evil(),
        ident: Some(1),
        state: GreenletState::Suspended,
        role: GreenletRole::Plain,
        parent: None,
        main: None,
        thread: None,
        waits_for: Some(Wait {
            owner: Owner::Greenlet(GreenletName { id: 3, name: Some(evil()) }, owning().taken),
            ..wait()
        }),
        torn: true,
        cut: true,
        frames: vec![frame.clone()],
    };
    let thread = ThreadStack {
        native_id: Some(1),
        ident: 1,
        name: Some(evil()),
        daemon: None,
        state: ThreadState::Waiting,
        syscall: Some("read".to_owned()),
        holds_gil: true,
        in_c: None,
        waits_for: Some(wait()),
        torn: true,
        cut: true,
        frames: vec![frame.clone(), frame, StackFrame::default()],
    };
    ProcessStacks {
        pid: 1,
        python: evil(),
        paused: Duration::ZERO,
        torn: true,
        notes: vec![evil()],
        deadlocks: vec![deadlock()],
        requests: vec![WebRequest::example(ServedBy::Thread(0), EVIL)],
        interpreters: vec![
            InterpreterStacks {
                id: 0,
                name: None,
                threads: vec![thread.clone(), thread],
                tasks: vec![TaskStack { awaited_by: Vec::new(), ..task.clone() }, task],
                greenlets: vec![greenlet],
            },
            InterpreterStacks {
                id: 1,
                name: Some(evil()),
                threads: Vec::new(),
                ..InterpreterStacks::default()
            },
        ],
    }
}

fn tree(repr: &str) -> Tree {
    let leaf = Tree::redacted(EVIL.into(), Default::default());
    let inner = Tree { repr: repr.into(), ..leaf.clone() };
    let item =
        |key: Option<&str>, value: &Tree| Item { key: key.map(Into::into), value: value.clone() };
    Tree {
        repr: format!("{repr}{}", "x".repeat(80)).into(),
        truncated: true,
        length: Some(9),
        through: Some(EVIL.into()),
        items: Some(vec![item(Some(EVIL), &inner), item(None, &inner)]),
        attributes: Some(vec![(EVIL.into(), inner)]),
        not_run: vec![evil()],
        ..leaf
    }
}

fn objects() -> ObjectReport {
    let found = |repr: &str| {
        objects::Outcome::Found(Found { tree: tree(repr), torn: true, note: Some(evil()) })
    };
    let nowhere = Nowhere::new(evil(), evil(), vec![evil()]);
    let outcomes = vec![
        found(EVIL),
        found("other"),
        objects::Outcome::Nowhere(nowhere),
        objects::Outcome::Failed(error(ErrorKind::Gone)),
    ];
    let differs =
        |what: What| Difference { path: evil(), what, majority: Some(evil()), here: Some(evil()) };
    let every = vec![
        differs(What::MissingKey(evil())),
        differs(What::ExtraKey(evil())),
        differs(What::MissingMember),
        differs(What::ExtraMember),
        differs(What::MissingItem),
        differs(What::ExtraItem),
        differs(What::MissingAttribute(evil())),
        differs(What::ExtraAttribute(evil())),
        differs(What::Value),
        differs(What::Type),
        differs(What::Order),
    ];
    let group = |pid: i32, is_error: bool| ObjectGroup {
        members: vec![place(pid)],
        is_error,
        differs: every.clone(),
        cut: true,
    };
    ObjectReport {
        path: evil(),
        answers: outcomes
            .into_iter()
            .zip(0_usize..)
            .map(|(outcome, index)| ObjectAnswer {
                place: place(index as i32 + 1),
                outcome,
                group: Some(index),
            })
            .collect(),
        groups: vec![group(1, false), group(2, false), group(3, true), group(4, true)],
        not_loaded: vec![place(9)],
    }
}

fn every_object(terminal: &Terminal) {
    let report = objects();
    for extent in [
        Extent { depth: 3, items: 100, width: Some(80) },
        Extent { depth: 0, items: 1, width: None },
    ] {
        terminal.data(&object_views::text(&report, extent)).unwrap();
        let mut one = report.clone();
        one.answers.truncate(1);
        terminal.data(&object_views::text(&one, extent)).unwrap();
        terminal.json(&object_views::json::report(&report, extent), true).unwrap();
        let mut changes = object_views::changes::Changes::default();
        let mut later = report.clone();
        later.answers[0].outcome = report.answers[1].outcome.clone();
        for report in [&report, &later] {
            for change in changes.of(report, Moment::now(), extent) {
                change.tell(terminal, false).unwrap();
                change.tell(terminal, true).unwrap();
            }
        }
    }
    terminal.talk(&object_views::notes(&report));
}

fn everything(terminal: &Terminal) {
    every_object(terminal);
    let seen = [process(), process()];
    for (all, width) in [(false, None), (true, None), (false, Some(80)), (true, Some(20))] {
        let style = Style { all, width };
        terminal.data(&stacks::text(&seen, style)).unwrap();
        terminal.data(&stacks::text(&seen[..1], style)).unwrap();
        let mut changes = stacks::changes::Changes::default();
        let looks = [
            Look { pid: 1, outcome: Ok(process()) },
            Look { pid: 2, outcome: Err(error(ErrorKind::Gone)) },
        ];
        let nobody =
            Look { pid: 1, outcome: Ok(ProcessStacks { interpreters: vec![], ..process() }) };
        for round in [&looks[..], &[nobody]] {
            for change in changes.of(round, Moment::now(), style) {
                change.tell(terminal, false).unwrap();
                change.tell(terminal, true).unwrap();
            }
        }
    }
    terminal.talk(&stacks::notes(&seen));
    stacks::json::processes(&seen, |piece| terminal.json_piece(piece)).unwrap();
    terminal.data(&requests::text(&seen, Style { all: true, width: Some(80) })).unwrap();
    terminal.json(&requests::json(&seen), true).unwrap();
    let verdict = Verdict { trouble: Trouble::Held, text: evil() };
    let reported = |stacks| Reported { pid: 1, verdict: verdict.clone(), row: Some(row()), stacks };
    let reports = [reported(Ok(process())), reported(Err(error(ErrorKind::Gone)))];
    terminal.data(&reports::text(&reports, Moment::now(), Style::default())).unwrap();
    terminal.talk(&reports::verdict(&reports));
    terminal.json(&reports::json(&reports, Moment::now()), true).unwrap();

    let report = report();
    for answer in &report.answers {
        answers::one(terminal, answer).unwrap();
        terminal.talk(&answers::verbose(answer));
        if let Outcome::Error(error) = &answer.outcome {
            let failure = Failure::of_process(7, error);
            failure.report(terminal, false);
            failure.report(terminal, true);
        }
    }
    answers::many(terminal, &report).unwrap();
    terminal.json(&json::report(&report), true).unwrap();
    terminal.talk(&leaving::closings(&report.answers));
    let mut changes = watch::Changes::default();
    for change in changes.of(&report, Moment::now()) {
        change.tell(terminal, false).unwrap();
        change.tell(terminal, true).unwrap();
    }
    for width in [None, Some(80), Some(50), Some(20)] {
        terminal.data(&processes::table(&[row(), row()], width, terminal.is_raw())).unwrap();
    }
    terminal.data(&processes::details(&[row()], terminal.is_raw())).unwrap();
    terminal.talk(&processes::refusals(&[row()]));
    terminal.json(&json::processes(&[row()]), true).unwrap();
    let cmdline = [evil()];
    let candidate = processes::Candidate { pid: 1, cmdline: &cmdline };
    terminal.talk(&processes::candidates(terminal, &[candidate], true));
    terminal.data(&Text::of(EVIL)).unwrap();
}

#[test]
fn nothing_of_it_reaches_the_terminal() {
    let (terminal, recorded) = Terminal::recorded(Some(80), false);
    everything(&terminal);
    let recorded = recorded.lock().unwrap();
    for text in [&recorded.data, &recorded.talk] {
        assert!(text.contains("\\x1b"), "the text is shown, escaped");
        assert_eq!(text.chars().find(|character| is_dangerous(*character)), None, "{text:?}");
    }
}

#[test]
fn raw_lifts_it() {
    let (terminal, recorded) = Terminal::recorded(Some(80), true);
    everything(&terminal);
    assert!(recorded.lock().unwrap().data.contains(EVIL));
}

#[test]
fn a_table_has_a_line_for_each_process() {
    let (terminal, recorded) = Terminal::recorded(None, false);
    terminal.data(&processes::table(&[row(), row()], Some(80), false)).unwrap();
    assert_eq!(recorded.lock().unwrap().data.lines().count(), 3);
}

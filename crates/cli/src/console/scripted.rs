//! A process for tests: it answers what the script says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spyhole_session::Cancel;
use spyhole_session::console::Event;
use spyhole_session::model::{Candidate, ErrorKind, EvalError, Running, Value};

use super::conversation::Conversation;
use super::plain::PlainEditor;
use super::shell::{Ended, Shell};
use crate::views::terminal::Terminal;

/// Code is looked up by its first word:
/// `say X` prints X, `value X` answers X, `raise` raises, `hang` never ends, `loop` ends when it is interrupted,
/// `exit` leaves, `die` loses the process, `late` ends the job that hangs.
#[derive(Default)]
pub(super) struct Scripted {
    events: VecDeque<Event>,
    job: u32,
    hanging: Option<u32>,
    looping: Option<u32>,
    abandoned: Vec<u32>,
    names: Vec<String>,
    pub(super) codes: Vec<String>,
}

impl Scripted {
    pub(super) fn with_names(mut self, names: &[&str]) -> Self {
        self.names = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    fn ends_with(&mut self, job: u32, repr: &str) {
        let value = Value {
            type_name: "str".to_owned(),
            repr: repr.to_owned(),
            is_none: repr == "None",
            truncated: false,
            key: None,
            json: None,
        };
        self.events.push_back(Event::Value { job, value, duration: Duration::ZERO });
    }

    fn raises(&mut self, job: u32, kind: ErrorKind, type_name: &str) {
        let error = EvalError {
            kind,
            type_name: type_name.to_owned(),
            message: "\x1b[2J".to_owned(),
            traceback: vec![],
            causes: vec![],
            hints: vec![],
        };
        self.events.push_back(Event::Error { job, error, duration: Duration::ZERO });
    }
}

impl Conversation for Scripted {
    fn start(&mut self, code: &str) -> u32 {
        self.job += 1;
        self.codes.push(code.to_owned());
        let job = self.job;
        let (word, rest) = code.split_once(' ').unwrap_or((code, ""));
        match word {
            "say" => {
                self.events.push_back(Event::Output {
                    job,
                    stderr: false,
                    text: format!("{rest}\n"),
                });
                self.ends_with(job, "None");
            }
            "value" => self.ends_with(job, rest),
            "raise" => self.raises(job, ErrorKind::Raised, "ValueError"),
            "hang" => self.hanging = Some(job),
            "loop" => self.looping = Some(job),
            "late" => {
                if let Some(hanging) = self.hanging.take() {
                    self.abandoned.clear();
                    self.events.push_back(Event::Output {
                        job: hanging,
                        stderr: false,
                        text: "woken\n".to_owned(),
                    });
                    self.raises(hanging, ErrorKind::Interrupted, "KeyboardInterrupt");
                }
                self.ends_with(job, "None");
            }
            "exit" => self.events.push_back(Event::Exit),
            "die" => self.events.push_back(Event::Gone { reason: "it was killed".to_owned() }),
            _ => self.ends_with(job, "None"),
        }
        job
    }

    fn next(&mut self, patience: Duration) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() {
            std::thread::sleep(patience);
        }
        event
    }

    fn interrupt(&mut self) {
        if let Some(job) = self.looping.take() {
            self.raises(job, ErrorKind::Interrupted, "KeyboardInterrupt");
        }
    }

    fn abandon(&mut self, job: u32) {
        self.abandoned.push(job);
    }

    fn running(&self) -> Vec<Running> {
        self.abandoned
            .iter()
            .map(|job| Running {
                job: *job,
                code: "hang".to_owned(),
                at: Some("time.sleep(100)".to_owned()),
                thread: 4177,
            })
            .collect()
    }

    fn complete(&mut self, text: &str) -> (usize, Vec<Candidate>) {
        let start = text.rfind('.').map_or(0, |dot| dot + 1);
        let names = self.names.iter();
        (
            start,
            names.map(|name| Candidate { name: name.clone(), kind: "value".to_owned() }).collect(),
        )
    }
}

struct Told {
    ended: Ended,
    data: String,
    talk: String,
    codes: Vec<String>,
}

fn run(script: &str, cancel: Cancel) -> Told {
    let conversation = Arc::new(Mutex::new(Scripted::default()));
    let (terminal, recorded) = Terminal::recorded(None, false);
    let shell = Shell::new(Arc::clone(&conversation), terminal, cancel);
    let mut editor = PlainEditor::new(script.as_bytes(), None);
    let ended = shell.run(&mut editor).unwrap();
    let recorded = recorded.lock().unwrap();
    let codes = conversation.lock().unwrap().codes.clone();
    Told { ended, data: recorded.data.clone(), talk: recorded.talk.clone(), codes }
}

/// Ctrl-C a moment from now.
fn soon() -> Cancel {
    let cancel = Cancel::default();
    let raised = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        raised.raise();
    });
    cancel
}

#[test]
fn prints_values_output_and_errors() {
    let told = run("say hi\nvalue 42\nvalue None\nraise\n secret\n", Cancel::default());
    assert_eq!(told.ended, Ended::Left);
    assert_eq!(told.data, "hi\n42\n");
    assert_eq!(told.talk, "ValueError: \\x1b[2J\n");
    assert_eq!(told.codes, ["say hi", "value 42", "value None", "raise", " secret"]);
}

#[test]
fn exit_leaves_and_a_lost_process_is_told() {
    assert_eq!(run("exit\nsay never", Cancel::default()).data, "");
    assert_eq!(run("die", Cancel::default()).ended, Ended::Gone("it was killed".to_owned()));
    assert_eq!(run(":quit\nsay never", Cancel::default()).data, "");
}

#[test]
fn a_loop_is_interrupted() {
    let told = run("loop\nvalue 1", soon());
    assert_eq!(told.data, "1\n");
    assert!(told.talk.starts_with("KeyboardInterrupt"));
}

#[test]
fn a_hanging_call_gives_the_prompt_back() {
    let begun = std::time::Instant::now();
    let told = run("hang\n:jobs\nlate\nvalue 2", soon());
    // The call would take 100 s; the machine may be busy.
    assert!(begun.elapsed() < Duration::from_secs(50));
    assert_eq!(told.data, "2\n");
    assert_eq!(
        told.talk,
        "\nstill running: time.sleep(100) (thread 4177); :jobs lists it\n\
         [1] still running: time.sleep(100) (thread 4177)\n\
         [job 1] woken\n[job 1] ended: KeyboardInterrupt: \\x1b[2J\n"
    );
}

#[test]
fn unknown_commands_are_told() {
    let told = run(":frobnicate now\n:help\n:jobs\n", Cancel::default());
    assert!(told.talk.starts_with("error: there is no command `:frobnicate`\n\nhint: :help\n"));
    assert!(told.talk.ends_with("no code is still running\n"));
    assert!(told.codes.is_empty());
}

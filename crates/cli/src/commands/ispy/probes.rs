//! The plugin `debugger` on a process that nobody prepared: each probe point is a `catch` of ours, for as long as the
//! shell is there.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use spyhole_session::Cancel;
use spyhole_session::catches::{self, AboutKept, Caught, Ended, Heard, Request, Summary};
use spyhole_session::evaluate::Reach;
use spyhole_session::postmortem::Postmortem;
use spyhole_session::target::Target;

use super::Shell;
use crate::audit;
use crate::console::debugger::Debugger;
use crate::console::lines::{LineEditor, Shown, Within};
use crate::console::plain::PlainEditor;
use crate::console::rich::{Keys, RichEditor};
use crate::console::shell::{Ended as EndedShell, Shell as PythonShell};
use crate::failure::{Failure, Kind};
use crate::views::escape::flat;
use crate::views::leaving;
use crate::views::text::Text;
use crate::views::traceback;

/// As the package has it, `spyhole/plugins/debugger.py`.
const LAST: u32 = 20;
const AGE: Duration = Duration::from_secs(3600);
const BYTES: u64 = 16 << 20;
const RATE: f64 = 10.0;
/// How long it may take to put one in place.
const PLACING: Duration = Duration::from_secs(60);

/// A probe point, in a thread of its own.
struct Point {
    /// As the process calls it.
    label: String,
    cancel: Cancel,
    thread: JoinHandle<Vec<Ended<Option<Summary>>>>,
}

pub(super) struct Probes {
    target: Arc<Target>,
    reach: Reach,
    points: BTreeMap<String, Point>,
}

impl Probes {
    pub(super) fn new(target: &Arc<Target>, reach: Reach) -> Self {
        Self { target: Arc::clone(target), reach, points: BTreeMap::new() }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.points.keys().cloned().collect()
    }

    /// Runs a command of the plugin.
    pub(super) fn obey(
        &mut self,
        shell: &mut Shell<'_>,
        command: &str,
        words: &[String],
    ) -> Result<(), Failure> {
        let name = words.first().cloned();
        match (command, name, words.len()) {
            ("insert", Some(name), 1) => self.insert(shell, &name),
            ("remove", Some(name), 1) => {
                let point = self.points.remove(&name);
                let point = point.ok_or_else(|| nothing(&format!("no probe point `{name}`")))?;
                remove(shell, point);
                Ok(())
            }
            ("list", None, 0) => {
                let names: Vec<String> =
                    self.points.keys().map(|name| format!("{}\n", flat(name))).collect();
                Ok(shell.terminal.data(&Text::of(names.concat()))?)
            }
            ("reset", None, 0) => self.ask(AboutKept::Reset).map(drop),
            ("tracebacks", None, 0) => {
                let kept = self.kept()?;
                let shown: Vec<String> = kept
                    .iter()
                    .map(|(name, caught)| {
                        format!(
                            "'{}': <exception {}: {}>",
                            flat(name),
                            caught.id,
                            flat(&said(caught))
                        )
                    })
                    .collect();
                Ok(shell.terminal.data(&Text::of(format!("{{{}}}\n", shown.join(", "))))?)
            }
            ("print", Some(name), 1) => {
                let caught = self.last(&name)?;
                let text = traceback::with_frames(&caught.chain, &|_| String::new());
                Ok(shell.terminal.data(&Text::of(text))?)
            }
            ("discard", Some(name), 1) => {
                let caught = self.last(&name)?;
                self.ask(AboutKept::Discard(caught.id)).map(drop)
            }
            ("debug", Some(name), 1) => {
                let caught = self.last(&name)?;
                self.debug(shell, caught.id)
            }
            _ => Err(Failure::new(Kind::Usage, format!("usage: {}", usage(command)))),
        }
    }

    fn insert(&mut self, shell: &mut Shell<'_>, name: &str) -> Result<(), Failure> {
        if self.points.contains_key(name) {
            let message = format!("there is a probe point `{}` already", flat(name));
            return Err(Failure::new(Kind::Usage, message));
        }
        audit::record(audit::Entry {
            pids: &[self.target.pid],
            level: "ask",
            command: "ispy",
            code: Some(name),
        });
        let request = Request {
            place: name.to_owned(),
            when: None,
            last: LAST,
            age: AGE,
            bytes: BYTES,
            rate: RATE,
            depth: 2,
            max: 200,
            stay: None,
            reach: self.reach.clone(),
        };
        let (sender, heard) = mpsc::channel();
        let cancel = Cancel::default();
        let (target, raised) = (Arc::clone(&self.target), cancel.clone());
        let thread = std::thread::Builder::new().name("probe point".to_owned()).spawn(move || {
            catches::keep(std::slice::from_ref(&*target), &request, &raised, &mut |_, heard| {
                // Nobody listens any more when it is in place.
                let _ = sender.send(heard);
                true
            })
        });
        let thread = thread.map_err(|error| {
            Failure::new(Kind::Failed, "cannot start a thread").caused_by(&error)
        })?;
        let point = Point { label: String::new(), cancel, thread };
        match placed(shell, &heard) {
            Ok(label) => {
                self.points.insert(name.to_owned(), Point { label, ..point });
                Ok(())
            }
            Err(failure) => {
                let pid = self.target.pid;
                let ended = finish(point);
                let of_process = |one: &Ended<Option<Summary>>| {
                    one.outcome.as_ref().err().map(|error| Failure::of_process(pid, error))
                };
                Err(ended.iter().find_map(of_process).unwrap_or(failure))
            }
        }
    }

    fn ask(&self, what: AboutKept) -> Result<Vec<Caught>, Failure> {
        let mut found = Vec::new();
        for one in catches::ask(std::slice::from_ref(&*self.target), &self.reach, what) {
            match one.outcome {
                Ok(answer) => found.extend(answer.found),
                Err(error) => return Err(Failure::of_process(self.target.pid, &error)),
            }
        }
        Ok(found)
    }

    /// The last one of each probe point.
    fn kept(&self) -> Result<BTreeMap<String, Caught>, Failure> {
        let mut last = BTreeMap::new();
        if self.points.is_empty() {
            return Ok(last);
        }
        for caught in self.ask(AboutKept::List)? {
            let of_this = self.points.iter().filter(|(_, point)| point.label == caught.place);
            let names: Vec<String> = of_this.map(|(name, _)| name.clone()).collect();
            for name in names {
                last.insert(name, caught.clone());
            }
        }
        Ok(last)
    }

    fn last(&self, name: &str) -> Result<Caught, Failure> {
        let why = || nothing(&format!("nothing that was kept of `{}`", flat(name)));
        self.kept()?.remove(name).ok_or_else(why)
    }

    fn debug(&self, shell: &mut Shell<'_>, id: u32) -> Result<(), Failure> {
        let pid = self.target.pid;
        let session = Postmortem::open(&self.target, &self.reach, id)
            .map_err(|error| Failure::of_process(pid, &error))?;
        let conversation = Arc::new(Mutex::new(Debugger::new(session)));
        let python = PythonShell::new(
            Arc::clone(&conversation),
            shell.terminal.clone(),
            shell.cancel.clone(),
        );
        let ended = match &mut shell.editor {
            LineEditor::Rich { .. } => {
                let end: Arc<AtomicBool> = Arc::clone(&shell.end);
                let mut editor =
                    RichEditor::new(&conversation, None, end, shell.terminal, Keys::usual());
                python.run_after(&mut editor, Postmortem::FIRST)
            }
            LineEditor::Plain { input, terminal, shown } => {
                let prompts = (*shown != Shown::Nothing).then(|| terminal.clone());
                let lines = (*shown == Shown::PromptsAndLines).then(|| terminal.clone());
                let mut editor = PlainEditor::new(Within { input, shown: lines }, prompts);
                python.run_after(&mut editor, Postmortem::FIRST)
            }
        };
        drop(python);
        if let Some(conversation) = Arc::into_inner(conversation) {
            let debugger = conversation.into_inner().unwrap_or_else(PoisonError::into_inner);
            let left = debugger.into_inner().close();
            if !matches!(ended, Ok(EndedShell::Gone(_))) {
                shell.terminal.talk(&leaving::closing(pid, &left));
            }
        }
        match ended? {
            EndedShell::Left => Ok(()),
            EndedShell::Gone(_) => Err(Failure::new(Kind::Gone, format!("process {pid} is gone"))),
        }
    }

    /// Takes all of them out.
    pub(super) fn close(&mut self, shell: &Shell<'_>) {
        for point in std::mem::take(&mut self.points).into_values() {
            remove(shell, point);
        }
    }
}

fn usage(command: &str) -> String {
    match command {
        "list" | "reset" | "tracebacks" => command.to_owned(),
        _ => format!("{command} NAME"),
    }
}

fn nothing(what: &str) -> Failure {
    Failure::new(Kind::NoMatch, format!("there is {what}")).hint("list")
}

/// What it is called there, once it is in place.
fn placed(shell: &Shell<'_>, heard: &Receiver<Heard>) -> Result<String, Failure> {
    let mut found = None;
    loop {
        match heard.recv_timeout(PLACING) {
            Ok(Heard::Placed { label, notes, .. }) => {
                for note in notes {
                    shell.terminal.talk(&Text::of(format!("{}\n", flat(&note))));
                }
                found = Some(label);
            }
            Ok(Heard::Settled) | Err(_) => break,
            Ok(Heard::Failed(_) | Heard::Caught(_) | Heard::Note(_)) => {}
        }
    }
    found.ok_or_else(|| Failure::new(Kind::Failed, "the probe point can not be put in place"))
}

fn finish(point: Point) -> Vec<Ended<Option<Summary>>> {
    point.cancel.raise();
    point.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn remove(shell: &Shell<'_>, point: Point) {
    let ended = finish(point);
    let left = ended.iter().filter_map(|one| Some((one.place.pid, one.left.as_ref()?)));
    shell.terminal.talk(&leaving::of_processes(left));
}

fn said(caught: &Caught) -> String {
    caught.chain.last().map_or_else(String::new, |raised| match raised.message.as_str() {
        "" => raised.type_name.clone(),
        message => format!("{}: {message}", raised.type_name),
    })
}

//! `spyhole console`: a Python prompt inside a process.

pub(super) mod socket;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use spyhole_session::Cancel;
use spyhole_session::console::{Console as Session, Hello};
use spyhole_session::evaluate::Reach;
use spyhole_session::model::EvalError;
use spyhole_session::place::Within;
use spyhole_session::snapshot::{self, Look, Options, Pause};
use spyhole_session::target::{self, Spec, Target};

use super::{Outcome, questions};
use crate::arguments::Entry;
use crate::console::commands::freeze_limit;
use crate::console::conversation::Conversation;
use crate::console::editor::Editor;
use crate::console::history;
use crate::console::plain::{PlainEditor, StandardInput};
use crate::console::rich::{Keys, RichEditor};
use crate::console::shell::{Ended, LEAVING, Outside, Shell, frozen, locked};
use crate::failure::{Failure, Kind};
use crate::views::escape::flat;
use crate::views::leaving;
use crate::views::stacks;
use crate::views::terminal::Terminal;
use crate::views::text::{Ink, Text};
use crate::{audit, interrupt};

/// Open an interactive Python prompt inside a process
#[derive(Args, Debug)]
#[command(
    long_about = "Open an interactive Python prompt inside a process: editing of several lines, history, completion from the \
                  live objects. Ctrl-C interrupts the code that runs and gives the prompt back, Ctrl-D leaves. From a pipe, \
                  lines are read and only results are printed. In a process with several interpreters you are asked for one, \
                  unless PID/INTERP names it; from a pipe it is the main one. HOST:PORT and unix:PATH name a prompt that an application \
                  has left open (`spyhole.backdoor`, eventlet's backdoor, any code.InteractiveConsole on a socket).",
    after_help = "Level: Ask; with --freeze: Stop. The code runs in a thread of its own inside the process, while the program \
                  goes on, or (--freeze) stands still between commands.\n\n\
                  Examples:\n  \
                  spyhole console 4123\n  \
                  spyhole console 4123 --freeze\n  \
                  spyhole console 4123/1\n  \
                  spyhole console manage.py\n  \
                  spyhole console 4123 --no-history\n  \
                  spyhole console localhost:3000\n  \
                  spyhole console shop.example:3000 --token-file ~/.shop-token\n  \
                  spyhole console unix:/run/shop/backdoor\n  \
                  echo 'len(cache)' | spyhole console 4123"
)]
pub(crate) struct Console {
    /// PID, PID/INTERP, a part of a command line, HOST:PORT or unix:PATH (see `spyhole help targets`)
    target: String,
    /// Where code runs: thread, main, loop, hub, frame:TID[:N] (see `spyhole help places`)
    #[arg(long = "in", value_name = "PLACE", default_value = "thread")]
    within: Within,
    /// Let the whole interpreter stand still between your commands; it goes on when none comes for that long, when a command
    /// takes longer, and when you leave or are gone
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "10s",
          value_parser = freeze_limit)]
    freeze: Option<Duration>,
    /// The token for HOST:PORT, if it asks for one: the first line of this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Neither read nor keep a history
    #[arg(long)]
    no_history: bool,
    /// Keys of the editor; otherwise as `editing-mode` in ~/.inputrc says
    #[arg(long, value_name = "KIND")]
    keys: Option<Keys>,
    #[command(flatten)]
    entry: Entry,
}

impl Console {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        if let Spec::Socket(address) = &spec {
            return socket::run(self, terminal, address);
        }
        if self.token_file.is_some() {
            return Err(Failure::new(
                Kind::Usage,
                "`--token-file` is for an address, not a process",
            )
            .hint("spyhole console HOST:PORT --token-file FILE"));
        }
        let resolved = target::resolve(&spec)?;
        let mut target = questions::pick(terminal, resolved)?;
        questions::pick_interpreter(terminal, &mut target)?;
        let target = Rc::new(target);

        let end = Arc::new(AtomicBool::new(false));
        let cancel = interrupt::listen_for_conversation(&end)?;
        audit::record(audit::Entry {
            pids: &[target.pid],
            level: if self.freeze.is_some() { "stop" } else { "ask" },
            command: "console",
            code: None,
        });
        let mut session = Session::open(&target, &self.entry.reach())
            .map_err(|error| Failure::of_process(target.pid, &error))?;
        session.set_place(self.within);
        if let Some(limit) = self.freeze {
            session.freeze_now(limit).map_err(|error| Failure::of_process(target.pid, &error))?;
        }
        terminal.talk(&banner(session.hello()));
        if let Some(limit) = self.freeze {
            terminal.talk(&Text::of(frozen(limit)));
        }
        if terminal.is_verbose() {
            let hello = session.hello();
            terminal.talk(&Text::of(format!(
                "entered by the door {} ({})\n",
                hello.door, hello.executable
            )));
        }

        let conversation = Arc::new(Mutex::new(session));
        let mut editor = self.editor(terminal, &conversation, &target.cmdline, end, &cancel)?;
        let outside = Process {
            target: Rc::clone(&target),
            session: Arc::clone(&conversation),
            reach: self.entry.reach(),
            width: terminal.width(),
        };
        let shell =
            Shell::new(Arc::clone(&conversation), terminal.clone(), cancel).with_outside(outside);
        let ended = shell.run(editor.as_mut());
        drop((editor, shell));
        let interpreter = locked(&conversation).hello().interpreter;
        // Whatever ended the talk, the process is left, and how it was left is said.
        if let Some(conversation) = Arc::into_inner(conversation) {
            let session = conversation.into_inner().unwrap_or_else(PoisonError::into_inner);
            let left = session.close();
            if !matches!(ended, Ok(Ended::Gone(_))) {
                terminal.talk(&leaving::closing(target.pid, &left));
            }
        }
        match ended? {
            Ended::Left => Ok(0),
            Ended::Gone(reason) => {
                let gone = match interpreter {
                    0 => format!("process {} is gone", target.pid),
                    id => format!("interpreter {id} of process {} is gone", target.pid),
                };
                let mut failure = Failure::new(Kind::Gone, gone);
                if !reason.is_empty() {
                    failure.causes.push(reason);
                }
                Err(failure)
            }
        }
    }

    fn editor<Talk: Conversation + 'static>(
        &self,
        terminal: &Terminal,
        conversation: &Arc<Mutex<Talk>>,
        cmdline: &[String],
        end: Arc<AtomicBool>,
        cancel: &Cancel,
    ) -> Result<Box<dyn Editor>, Failure> {
        let typed = std::io::stdin().is_terminal();
        if typed {
            interrupt::end_with_the_terminal()?;
        }
        let capable = std::io::stdout().is_terminal()
            && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        if typed && capable {
            let file = self.history_file(terminal, cmdline);
            let keys = self.keys.unwrap_or_else(Keys::usual);
            Ok(Box::new(RichEditor::new(conversation, file, end, terminal, keys)))
        } else {
            let lines = StandardInput::new(end, cancel.clone(), typed)?;
            Ok(Box::new(PlainEditor::new(lines, typed.then(|| terminal.clone()))))
        }
    }

    fn history_file(&self, terminal: &Terminal, cmdline: &[String]) -> Option<PathBuf> {
        if self.no_history {
            return None;
        }
        history::file_for(cmdline).unwrap_or_else(|error| {
            terminal.talk(&Text::of(format!("the history is not kept: {error}\n")));
            None
        })
    }
}

/// The process as it is seen from outside.
struct Process {
    target: Rc<Target>,
    session: Arc<Mutex<Session>>,
    reach: Reach,
    width: Option<usize>,
}

impl Outside for Process {
    fn whereabouts(&self) -> Text {
        let session = locked(&self.session);
        let hello = session.hello();
        let mut text = Text::new();
        text.line(format!("process      {} ({})", hello.pid, flat(&self.target.cmdline.join(" "))));
        text.line(format!("python       {} ({})", flat(&hello.python), flat(&hello.executable)));
        text.line(format!("interpreter  {}", hello.interpreter));
        text.line(format!("place        {} (native thread {})", flat(&hello.place), hello.thread));
        text.line(format!("door         {}", hello.door));
        text
    }

    fn enter(&self, interpreter: &str) -> Result<Text, Failure> {
        let failed = |error: EvalError| Failure::of_process(self.target.pid, &error);
        let target = self.target.at(interpreter).map_err(failed)?;
        let session = Session::open(&target, &self.reach).map_err(failed)?;
        let entered = banner(session.hello());
        let before = std::mem::replace(&mut *locked(&self.session), session);
        let mut text = leaving::closing(target.pid, &before.close());
        text.append(entered);
        Ok(text)
    }

    fn stacks(&self) -> Result<Text, Failure> {
        let options = Options { pause: Pause::Holder, sources: true, locals: None, requests: None };
        let mut looks = snapshot::of_all(std::slice::from_ref(&*self.target), options);
        let Some(Look { pid, outcome }) = looks.pop() else { return Ok(Text::new()) };
        let stacks = outcome.map_err(|error| Failure::of_process(pid, &error))?;
        let style = stacks::Style { all: false, width: self.width };
        Ok(stacks::text(&[stacks], style))
    }
}

/// `Remote console PID=4123, Python 3.11.7, place thread`, and `PID=4123/1` for another interpreter than the main one
fn banner(hello: &Hello) -> Text {
    let mut text = Text::new();
    text.ink(
        Ink::Strong,
        format!(
            "Remote console PID={}{}, Python {}, place {}",
            hello.pid,
            if hello.interpreter == 0 { String::new() } else { format!("/{}", hello.interpreter) },
            flat(&hello.python),
            flat(&hello.place)
        ),
    );
    if hello.own_pid != hello.pid {
        text.plain(format!(" (it calls itself {})", hello.own_pid));
    }
    text.plain("\n").line(LEAVING);
    text
}

//! `spyhole postmortem`: the debugger on an exception that `catch` has kept.

use std::io::IsTerminal;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use spyhole_session::postmortem::Postmortem as Session;
use spyhole_session::target;

use super::{Outcome, questions};
use crate::arguments::Entry;
use crate::console::debugger::Debugger;
use crate::console::editor::Editor;
use crate::console::history;
use crate::console::plain::{PlainEditor, StandardInput};
use crate::console::rich::{Keys, RichEditor};
use crate::console::shell::{Ended, Shell};
use crate::failure::{Failure, Kind};
use crate::views::leaving;
use crate::views::terminal::Terminal;
use crate::views::text::Text;
use crate::{audit, interrupt};

/// Open pdb on an exception that `catch` has kept
#[derive(Args, Debug)]
#[command(
    long_about = "Open pdb, the one of the process's own standard library, on an exception that `spyhole catch` has kept: its \
                  frames and their variables, as they were left. The program goes on meanwhile. Ctrl-C interrupts a command, \
                  `quit` and Ctrl-D leave, and the program is untouched. From a pipe, commands are read and only answers are \
                  printed.",
    after_help = "Level: Stop, though nothing waits: pdb runs in a thread of its own on frames that have ended.\n\n\
                  Examples:\n  \
                  spyhole postmortem 4123 1\n  \
                  spyhole postmortem 4123/1 7\n  \
                  printf 'where\\np item\\n' | spyhole postmortem 4123 1"
)]
pub(crate) struct Postmortem {
    /// PID, PID/INTERP or a part of a command line (see `spyhole help targets`)
    target: String,
    /// The number of the exception, as `spyhole catch` tells it
    id: u32,
    /// Neither read nor keep a history
    #[arg(long)]
    no_history: bool,
    /// Keys of the editor; otherwise as `editing-mode` in ~/.inputrc says
    #[arg(long, value_name = "KIND")]
    keys: Option<Keys>,
    #[command(flatten)]
    entry: Entry,
}

impl Postmortem {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let spec = target::parse(&self.target)?;
        let resolved = target::resolve(&spec)?;
        let mut target = questions::pick(terminal, resolved)?;
        questions::pick_interpreter(terminal, &mut target)?;
        let end = Arc::new(AtomicBool::new(false));
        let cancel = interrupt::listen_for_conversation(&end)?;
        audit::record(audit::Entry {
            pids: &[target.pid],
            level: "stop",
            command: "postmortem",
            code: None,
        });
        let session = Session::open(&target, &self.entry.reach(), self.id)
            .map_err(|error| Failure::of_process(target.pid, &error))?;
        let conversation = Arc::new(Mutex::new(Debugger::new(session)));
        let typed = std::io::stdin().is_terminal();
        if typed {
            interrupt::end_with_the_terminal()?;
        }
        let capable = std::io::stdout().is_terminal()
            && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let mut editor: Box<dyn Editor> = if typed && capable {
            let file = self.history_file(terminal, &target.cmdline);
            let keys = self.keys.unwrap_or_else(Keys::usual);
            Box::new(RichEditor::new(&conversation, file, end, terminal, keys))
        } else {
            let lines = StandardInput::new(end, cancel.clone(), typed)?;
            Box::new(PlainEditor::new(lines, typed.then(|| terminal.clone())))
        };
        let shell = Shell::new(Arc::clone(&conversation), terminal.clone(), cancel);
        let ended = shell.run_after(editor.as_mut(), Session::FIRST);
        drop((editor, shell));
        // Whatever ended the talk, the process is left, and how it was left is said.
        if let Some(conversation) = Arc::into_inner(conversation) {
            let debugger = conversation.into_inner().unwrap_or_else(PoisonError::into_inner);
            let left = debugger.into_inner().close();
            if !matches!(ended, Ok(Ended::Gone(_))) {
                terminal.talk(&leaving::closing(target.pid, &left));
            }
        }
        match ended? {
            Ended::Left => Ok(0),
            Ended::Gone(reason) => {
                let mut failure =
                    Failure::new(Kind::Gone, format!("process {} is gone", target.pid));
                if !reason.is_empty() {
                    failure.causes.push(reason);
                }
                Err(failure)
            }
        }
    }

    /// Commands of a debugger are no Python: they have a file of their own.
    fn history_file(&self, terminal: &Terminal, cmdline: &[String]) -> Option<std::path::PathBuf> {
        if self.no_history {
            return None;
        }
        history::for_debugger(cmdline).unwrap_or_else(|error| {
            terminal.talk(&Text::of(format!("the history is not kept: {error}\n")));
            None
        })
    }
}

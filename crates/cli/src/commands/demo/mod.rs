//! `spyhole demo`: sample workers, and how the odd one among them is found.

mod workers;

use std::time::Duration;

use clap::{Args, Parser};
use spyhole_session::Cancel;

use self::workers::Workers;
use super::Outcome;
use crate::arguments::{Arguments, Command};
use crate::failure::Kind;
use crate::interrupt;
use crate::views::terminal::{OutputError, Terminal};
use crate::views::text::{Ink, Text};

/// Seconds between two lines of a worker that is served.
const LOG_PERIOD: Duration = Duration::from_secs(5);
/// How often the end is looked for.
const TICK: Duration = Duration::from_millis(50);
/// The worker that was initialised differently.
const ODD: usize = 2;

/// Start sample workers, one of them wrong, and walk through finding it
#[derive(Args, Debug)]
#[command(
    long_about = "Start four sample workers, one of them wrong, and walk through finding it with the commands that you would \
                  type. With --serve one worker is started, its pid is printed, and it logs a line every 5 s until Ctrl-C: \
                  something to try spyhole on. That one has called `spyhole.install()`, and can be rung.",
    after_help = "Level: Ask, on the sample workers alone. They end with the demo.\n\n\
                  Examples:\n  spyhole demo\n  spyhole demo --serve"
)]
pub(crate) struct Demo {
    /// Start one worker and keep it running until Ctrl-C
    #[arg(long)]
    serve: bool,
}

impl Demo {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let cancel = interrupt::listen()?;
        // A name of its own: other demos may be running on this machine.
        let name = format!("shop-{}", std::process::id());
        if self.serve { serve(terminal, &name, &cancel) } else { walk(terminal, &name, &cancel) }
    }
}

fn serve(terminal: &Terminal, name: &str, cancel: &Cancel) -> Outcome {
    let workers = Workers::start(name, &[1], LOG_PERIOD, true)?;
    let pid = workers.pids()[0];
    terminal.data(&Text::of(format!("PID {pid}\n")))?;
    terminal.talk(&Text::of(format!(
        "try: spyhole eval {pid} shop.admin.site.registry\nCtrl-C ends it\n"
    )));
    while !cancel.is_raised() {
        if let Some(line) = workers.line(TICK)? {
            let mut text = Text::new();
            text.line(line);
            terminal.data(&text)?;
        }
    }
    Ok(0)
}

fn walk(terminal: &Terminal, name: &str, cancel: &Cancel) -> Outcome {
    let workers = Workers::start(name, &[1, 2, 3, 4], Duration::ZERO, false)?;
    let odd = workers.pids()[ODD].to_string();
    let steps: [(&str, &[&str]); 4] = [
        (
            "Four workers of a small shop are running. Its admin page looks different at each reload.\n\
             Which Python processes are there?",
            &["ps", name],
        ),
        (
            "Every worker has its own `shop.admin.site`. Ask all of them at once, and compare:",
            &["eval", name, "shop.admin.site.registry", "--yes"],
        ),
        ("One differs. What happened to it?", &["eval", &odd, "shop.admin.site.history[-2:]"]),
        (
            "Its import failed half way. Has it served anybody since?",
            &["eval", &odd, "shop.admin.served"],
        ),
    ];
    for (index, (words, command)) in steps.into_iter().enumerate() {
        if cancel.is_raised() {
            return Ok(Kind::Interrupted.exit_code());
        }
        announce(terminal, index, words, command)?;
        let code = perform(terminal, command)?;
        if code != 0 {
            return Ok(code);
        }
    }
    terminal.data(&Text::of(
        "\nThat was all: nothing was prepared in the workers, and nothing of spyhole is left in them.\n\
         They end now. To try it yourself: spyhole demo --serve\n",
    ))?;
    Ok(0)
}

fn announce(
    terminal: &Terminal,
    index: usize,
    words: &str,
    command: &[&str],
) -> Result<(), OutputError> {
    let mut text = Text::new();
    if index > 0 {
        text.plain("\n");
    }
    let typed: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    text.line(words)
        .plain("\n")
        .ink(Ink::Strong, format!("$ spyhole {}", typed.join(" ")))
        .plain("\n");
    terminal.data(&text)
}

/// Runs what was announced, just as if it had been typed.
fn perform(terminal: &Terminal, command: &[&str]) -> Outcome {
    let words = ["spyhole"].iter().chain(command);
    match Arguments::try_parse_from(words)?.command {
        Command::Ps(ps) => ps.run(terminal),
        Command::Eval(eval) => eval.run(terminal),
        _ => Ok(Kind::Bug.exit_code()),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:,=".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("shop-12"), "shop-12");
        assert_eq!(quoted("a[-1]"), "'a[-1]'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}

//! `spyhole help`: the long texts.

use clap::{Args, CommandFactory};

use super::Outcome;
use crate::arguments::Arguments;
use crate::failure::{Failure, Kind};
use crate::views::terminal::Terminal;
use crate::views::text::Text;

/// Topic, what it is about, its text.
const TOPICS: [(&str, &str, &str); 8] = [
    ("targets", "how processes are named", include_str!("help/targets.txt")),
    ("doors", "how a process is entered", include_str!("help/doors.txt")),
    ("places", "where in a process code runs", include_str!("help/places.txt")),
    ("ptrace", "the permission that is needed", include_str!("help/ptrace.txt")),
    ("containers", "Docker, Kubernetes and the like", include_str!("help/containers.txt")),
    ("opt-out", "processes that nobody is to enter", include_str!("help/opt-out.txt")),
    ("traces", "what is left in a process, and what not", include_str!("help/traces.txt")),
    ("exit-codes", "what the exit code says", include_str!("help/exit-codes.txt")),
];

/// Explain a topic: targets, doors, places, ptrace, containers, opt-out, traces, exit-codes, or a command
#[derive(Args, Debug)]
#[command(
    long_about = "Explain a topic (targets, doors, places, ptrace, containers, opt-out, traces, exit-codes), or a command.",
    after_help = "Level: none. No process is touched.\n\n\
                  Examples:\n  spyhole help targets\n  spyhole help exit-codes\n  spyhole help eval"
)]
pub(crate) struct Help {
    /// The topic, or a command
    topic: Option<String>,
}

impl Help {
    pub(crate) fn run(&self, terminal: &Terminal) -> Outcome {
        let mut program = Arguments::command();
        // Building copies the global options into the commands, as parsing does.
        program.build();
        let text = match self.topic.as_deref() {
            None => {
                let mut text = Text::of(program.render_long_help().to_string());
                text.line("\nTopics:");
                for (topic, about, _) in TOPICS {
                    text.line(format!("  spyhole help {topic:<11} {about}"));
                }
                text
            }
            Some(wanted) => {
                if let Some((_, _, text)) = TOPICS.iter().find(|(topic, _, _)| *topic == wanted) {
                    Text::of(*text)
                } else if let Some(command) = program.find_subcommand_mut(wanted) {
                    Text::of(command.render_long_help().to_string())
                } else {
                    return Err(unknown(wanted));
                }
            }
        };
        terminal.document(&text)?;
        Ok(0)
    }
}

fn unknown(wanted: &str) -> Failure {
    let topics: Vec<&str> = TOPICS.iter().map(|(topic, _, _)| *topic).collect();
    Failure::new(
        Kind::Usage,
        format!("there is no help on `{wanted}`; topics are {}", topics.join(", ")),
    )
    .hint("spyhole help")
}

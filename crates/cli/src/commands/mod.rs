//! One file a command: its arguments, its run, its examples. A new one is a file and a line in `arguments::Command`.

pub(crate) mod catch;
pub(crate) mod close;
pub(crate) mod console;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod generate;
pub(crate) mod get;
pub(crate) mod help;
pub(crate) mod ispy;
mod looks;
pub(crate) mod plugin;
pub(crate) mod postmortem;
mod probed;
pub(crate) mod ps;
pub(crate) mod python;
mod questions;
pub(crate) mod report;
pub(crate) mod requests;
mod rounds;
pub(crate) mod stack;
pub(crate) mod trace;

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use clap::error::ErrorKind;

use crate::arguments::{Arguments, Color, Command, Global};
use crate::failure::{Failure, Kind};
use crate::views::terminal::Terminal;
use crate::views::text::Text;

/// How a command ends: an exit code for what it has told already, or a failure that is still to be told.
pub(crate) type Outcome = Result<u8, Failure>;

/// Parses the arguments, runs the command, reports its failure, and gives the exit code.
pub(crate) fn run() -> u8 {
    let arguments = match Arguments::try_parse_from(words()) {
        Ok(arguments) => arguments,
        Err(error) => return not_parsed(error),
    };
    let terminal = Terminal::new(&arguments.global);
    if terminal.is_verbose() {
        crate::views::log::install(&terminal);
    }
    let (outcome, json) = match arguments.command {
        Command::Ps(command) => (command.run(&terminal), command.json),
        Command::Stack(command) => (command.run(&terminal), command.json),
        Command::Get(command) => (command.run(&terminal), command.json),
        Command::Requests(command) => (command.run(&terminal), command.json),
        Command::Report(command) => (command.run(&terminal), command.json),
        Command::Doctor(command) => (command.run(&terminal), command.json),
        Command::Eval(command) => (command.run(&terminal), command.json),
        Command::Console(command) => (command.run(&terminal), false),
        Command::Trace(command) => (command.run(&terminal), command.json),
        Command::Catch(command) => (command.run(&terminal), command.json),
        Command::Postmortem(command) => (command.run(&terminal), false),
        Command::Ispy(command) => (command.run(&terminal), false),
        Command::Plugin(command) => (command.run(&terminal), command.json),
        Command::Close(command) => (command.run(&terminal), false),
        Command::Python(command) => (command.run(), false),
        Command::Demo(command) => (command.run(&terminal), false),
        Command::Help(command) => (command.run(&terminal), false),
        Command::Generate(command) => (command.run(), false),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            failure.report(&terminal, json);
            failure.kind.exit_code()
        }
    }
}

/// The arguments; called as `ispy`, the program is the command of that name.
fn words() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.first().is_some_and(|name| Path::new(name).file_name() == Some("ispy".as_ref())) {
        words.insert(1, "ispy".into());
    }
    words
}

/// Help and version are data; everything else is a usage error, told in our voice.
fn not_parsed(error: clap::Error) -> u8 {
    let global = Global { verbose: false, color: Color::Auto, raw: false, no_pager: true };
    let terminal = Terminal::new(&global);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = Text::of(error.render().to_string());
            match terminal.data(&text).map_err(Failure::from) {
                Ok(()) => 0,
                Err(failure) => {
                    failure.report(&terminal, false);
                    failure.kind.exit_code()
                }
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            terminal.talk(&Text::of(error.render().to_string()));
            Kind::Usage.exit_code()
        }
        _ => {
            let json = std::env::args_os()
                .take_while(|argument| argument != "--")
                .any(|argument| argument == "--json");
            let failure = Failure::from(error);
            failure.report(&terminal, json);
            failure.kind.exit_code()
        }
    }
}

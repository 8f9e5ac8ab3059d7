//! What can be written after `spyhole`: the one definition behind parsing, help, man pages and completions.

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

use crate::commands;

/// A small, safe hole into a running Python process.
#[derive(Debug, Parser)]
#[command(
    name = "spyhole",
    version,
    about = "A small, safe hole into a running Python process",
    long_about = "A small, safe hole into a running Python process: name any CPython on this machine and get an answer \
                  or a prompt from inside it. Nothing has to be prepared in it, and nothing stays behind.",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Examples:\n  \
                  spyhole ps                                   which Python processes are there\n  \
                  spyhole stack 4123                           what each of its threads does\n  \
                  spyhole get 4123 shop.cache                  an object by its path, with nothing run\n  \
                  spyhole eval 4123 'len(cache)'               ask one process\n  \
                  spyhole eval gunicorn 'settings.DEBUG' --yes ask all workers, the odd one out comes first\n  \
                  spyhole console 4123                         a Python prompt inside the process\n  \
                  spyhole demo                                 see it at work on four sample workers"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Global {
    /// Say more: what was tried, by which door, how long it took
    #[arg(short, long, global = true, display_order = 900)]
    pub(crate) verbose: bool,
    /// When to use colours; `NO_COLOR` is heeded
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    #[arg(display_order = 901)]
    pub(crate) color: Color,
    /// Show what a process wrote as it is, control characters too
    #[arg(long, global = true, display_order = 902)]
    pub(crate) raw: bool,
    /// Print it all at once, also what is longer than the screen
    #[arg(long, global = true, display_order = 903)]
    pub(crate) no_pager: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// How a process may be entered: options of the commands that run code in one.
#[derive(Args, Clone, Debug)]
pub(crate) struct Entry {
    /// Enter by this door and no other (see `spyhole help doors`)
    #[arg(long, value_name = "NAME", value_parser = ["doorbell", "thread"], display_order = 800)]
    pub(crate) door: Option<String>,
    /// A prepared process calls back to this port of the loopback: that of its `install(port=)`
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), display_order = 802)]
    pub(crate) port: Option<u16>,
    /// Enter although the process was started with remote debugging switched off (Python 3.14+; your own processes only)
    #[arg(long, display_order = 801)]
    pub(crate) override_opt_out: bool,
}

impl Entry {
    pub(crate) fn reach(&self) -> spyhole_session::evaluate::Reach {
        // Nothing but a doorbell has a port.
        let bell = || self.port.map(|_| "doorbell".to_owned());
        spyhole_session::evaluate::Reach {
            door: self.door.clone().or_else(bell),
            port: self.port,
            override_opt_out: self.override_opt_out,
            ..Default::default()
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ps(commands::ps::Ps),
    Stack(commands::stack::Stack),
    Get(commands::get::Get),
    Requests(commands::requests::Requests),
    Report(commands::report::Report),
    Doctor(commands::doctor::Doctor),
    Eval(commands::eval::Eval),
    Console(commands::console::Console),
    Trace(commands::trace::Trace),
    Ispy(commands::ispy::Ispy),
    Plugin(commands::plugin::Plugin),
    Python(commands::python::Python),
    Close(commands::close::Close),
    Demo(commands::demo::Demo),
    Help(commands::help::Help),
    #[command(hide = true)]
    Generate(commands::generate::Generate),
}

//! `spyhole generate`, hidden: man pages and shell completions from the definitions that parse.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use super::Outcome;
use crate::arguments::Arguments;
use crate::failure::{Failure, Kind};

/// Write man pages or shell completions into a folder
#[derive(Args, Debug)]
pub(crate) struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write one man page for the program and one for each command
    Man { directory: PathBuf },
    /// Write the completions of one shell
    Completions { shell: Shell, directory: PathBuf },
}

impl Generate {
    pub(crate) fn run(&self) -> Outcome {
        let mut command = Arguments::command();
        let (directory, written) = match &self.what {
            What::Man { directory } => (directory, create(directory).and_then(|()| man(directory))),
            What::Completions { shell, directory } => {
                let written = create(directory)
                    .and_then(|()| {
                        clap_complete::generate_to(*shell, &mut command, "spyhole", directory)
                    })
                    .map(drop);
                (directory, written)
            }
        };
        written.map(|()| 0).map_err(|error| {
            Failure::new(Kind::Failed, format!("cannot write into `{}`", directory.display()))
                .caused_by(&error)
        })
    }
}

fn create(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)
}

fn man(directory: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(Arguments::command(), directory)
}

//! The project's own chores: `cargo xtask NAME`.
//!
//! It knows the list of chores and nothing about any of them: each is one file with a `run`.

mod agent;
mod bench;
mod capture;
mod census;
mod client;
mod compile;
mod debian;
mod dist;
mod full;
mod kills;
mod layouts;
mod printable;
mod pythons;
mod record;
mod stress;
mod venvs;
mod ward;
mod wheel;
mod workspace;

use std::process::ExitCode;

/// One chore: its name, what it does, and the function that does it.
struct Chore {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const CHORES: &[Chore] = &[
    Chore {
        name: "agent",
        about: "run the agent's Python tests on the oldest and the newest interpreter",
        run: agent::run,
    },
    Chore {
        name: "bench",
        about: "measure beside other tools: `ask` is the time to a value, `stack` that to all stacks, `trace` what it costs",
        run: bench::run,
    },
    Chore {
        name: "capture",
        about: "record a process, so that tests can read it without one (--all: those of the tests)",
        run: capture::run,
    },
    Chore {
        name: "census",
        about: "tell which interpreters a test run covered, and what it skipped",
        run: census::run,
    },
    Chore {
        name: "compile",
        about: "compile the agent for each version, as it is sent into processes (--check: compare)",
        run: compile::run,
    },
    Chore { name: "dist", about: "make the static program, and `--check` it", run: dist::run },
    Chore { name: "full", about: "run everything on everything", run: full::run },
    Chore {
        name: "kills",
        about: "let the client die at every step; no target may come to harm",
        run: kills::run,
    },
    Chore {
        name: "layouts",
        about: "write the rows of the version table from each interpreter's headers (--check: compare)",
        run: layouts::run,
    },
    Chore {
        name: "printable",
        about: "write which characters each version's repr shows as they are (--check: compare)",
        run: printable::run,
    },
    Chore {
        name: "pythons",
        about: "make the Debian root with the newest interpreters",
        run: pythons::run,
    },
    Chore {
        name: "stress",
        about: "attach and detach again and again where threads are in malloc, or fork",
        run: stress::run,
    },
    Chore {
        name: "venvs",
        about: "make the environments with gevent and eventlet for the live tests",
        run: venvs::run,
    },
    Chore {
        name: "wheel",
        about: "make the wheel; `--check` installs it and rings a doorbell",
        run: wheel::run,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = words.split_first() else {
        usage();
        return ExitCode::from(2);
    };
    let Some(chore) = CHORES.iter().find(|chore| chore.name == name) else {
        eprintln!("error: no chore `{name}`\n");
        usage();
        return ExitCode::from(2);
    };
    match (chore.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() {
    eprintln!("usage: cargo xtask CHORE\n");
    for chore in CHORES {
        eprintln!("  {:<10} {}", chore.name, chore.about);
    }
}

//! The program `spyhole`: arguments in, one command, text or JSON out.
//!
//! It knows arguments, terminals and exit codes. It knows nothing of processes: all it does to them goes through the
//! session service.

mod arguments;
mod audit;
mod commands;
mod console;
mod duration;
#[cfg(feature = "die")]
mod dying;
mod failure;
mod interrupt;
mod live;
mod views;

use std::process::ExitCode;

fn main() -> ExitCode {
    failure::install_panic_hook();
    #[cfg(feature = "die")]
    dying::arm();
    let code = std::panic::catch_unwind(commands::run);
    #[cfg(feature = "die")]
    dying::tell();
    match code {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::from(failure::Kind::Bug.exit_code()),
    }
}

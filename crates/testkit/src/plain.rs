//! An environment in which output does not depend on who runs the tests.

use std::process::{Command, Stdio};

/// Takes out of the environment what would change the output, and says how wide it is.
pub fn plain(mut command: Command) -> Command {
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "XDG_STATE_HOME", "SPYHOLE_PAGER", "PAGER", "LESS"] {
        command.env_remove(name);
    }
    command.env("COLUMNS", "100").env("TERM", "xterm").stdin(Stdio::null());
    command
}

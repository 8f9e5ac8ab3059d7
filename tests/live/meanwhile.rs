//! What an agent of ours does when the process that it is in comes to its end.

use std::process::Stdio;

use crate::program::{Running, spyhole};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Agent {
    /// Nobody is in it: what the others are compared with.
    Absent,
    Idle,
    /// Runs Python without end.
    Busy,
    /// Sleeps in C for longer than the process lives.
    Asleep,
    /// Has been asked for something, and waits for the GIL, which the process keeps.
    Waiting,
}

/// All but the first.
pub(crate) const WITH_AGENTS: [Agent; 4] =
    [Agent::Idle, Agent::Busy, Agent::Asleep, Agent::Waiting];

/// Nobody first, then each of the others as often as is asked for.
pub(crate) fn all_of_them() -> impl Iterator<Item = Agent> {
    std::iter::once(Agent::Absent).chain((0..times()).flat_map(|_| WITH_AGENTS))
}

/// How often each end is tried; the number of the environment is for a long run.
pub(crate) fn times() -> usize {
    std::env::var("SPYHOLE_TEST_ENDINGS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// A console at this place that does so. For `Waiting` it is yet to be asked, by [`ask`].
#[track_caller]
pub(crate) fn client(place: &str, agent: Agent) -> Option<Running> {
    let code = match agent {
        Agent::Absent => return None,
        Agent::Idle | Agent::Waiting => "print('on')\n",
        // Said by the very code that goes on.
        Agent::Busy => "for _ in [print('on')]:\n while True: pass\n\n",
        Agent::Asleep => "import time\nfor _ in [print('on')]: time.sleep(600)\n\n",
    };
    let mut command = spyhole();
    command.args(["console", place, "--no-history"]).stdin(Stdio::piped());
    let mut console = Running::start(&mut command);
    console.write(code);
    if console.line() != "on" {
        panic!("{agent:?} is not in {place}: {:?}", console.wait());
    }
    Some(console)
}

/// Asks those who are to wait.
pub(crate) fn ask<'a>(clients: impl IntoIterator<Item = &'a mut Running>, agent: Agent) {
    if agent == Agent::Waiting {
        clients.into_iter().for_each(|client| client.write("1\n"));
    }
}

/// They have heard of the end.
#[track_caller]
pub(crate) fn heard(clients: impl IntoIterator<Item = Running>, agent: Agent) {
    for client in clients {
        let ran = client.wait();
        assert!(matches!(ran.code, 0 | 5), "{agent:?}: {ran:?}");
    }
}

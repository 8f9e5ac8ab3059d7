//! A console that has its interpreter stand still: what the agent needs to know of the GIL, and how much time is left.

use std::time::{Duration, Instant};

use spyhole_agent::message::GilWords;
use spyhole_cpython::Opened;
use spyhole_cpython::switching::{Asked, Switching};
use spyhole_proc::memory::{Live, ReadMemory};

use crate::failure;
use crate::model::{ErrorKind, EvalError};

pub use spyhole_agent::message::Thaw;

/// How long a program may be made to wait for a command.
pub const LONGEST: Duration = Duration::from_secs(600);
pub const SHORTEST: Duration = Duration::from_millis(100);
/// Where nothing is said: servers that watch their workers end one that is silent for longer.
pub const USUAL: Duration = Duration::from_secs(10);

/// The clock of a freeze, as it is on this side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    limit: Duration,
    since: Instant,
}

impl Clock {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now() }
    }

    /// A command came, or ended.
    pub(crate) fn begin_again(&mut self) {
        self.since = Instant::now();
    }

    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }
}

/// Where an interpreter keeps what is needed; looked at from outside before anything is written there.
pub(crate) fn words(
    pid: i32,
    opened: Option<&Opened>,
    interpreter: i64,
) -> Result<GilWords, EvalError> {
    let refused = |why: &str| {
        let message = format!("process {pid} cannot be frozen: {why}");
        failure::error(ErrorKind::Unreachable, "Unreachable", message)
    };
    if interpreter != 0 {
        return Err(refused("only the main interpreter can"));
    }
    let opened = opened.ok_or_else(|| refused("this build cannot read it"))?;
    let memory = Live { pid };
    let found = || {
        let all = opened.roots.interpreters(&memory, &opened.layout).ok()?;
        let main = all.iter().find(|state| state.id == 0)?;
        let switching = Switching::find(&memory, &memory, opened, main)?;
        is_plausible(&memory, &switching).then_some(switching)
    };
    let switching = found().ok_or_else(|| {
        refused("it is not known where its GIL is asked for (a stripped 3.6, or another build)")
    })?;
    let (request, breaker, in_state) = match switching.asked {
        Asked::Words { request, breaker } => (request.0, breaker.0, 0),
        Asked::State { breaker } => (0, 0, breaker),
    };
    let (interval, switches) = (switching.interval.0, switching.switches.0);
    Ok(GilWords { interval, switches, request, breaker, in_state })
}

fn is_plausible(memory: &dyn ReadMemory, switching: &Switching) -> bool {
    const MINUTE: u64 = 60_000_000;
    let interval = memory.word(switching.interval).is_ok_and(|us| (1..MINUTE).contains(&us));
    interval
        && memory.word(switching.switches).is_ok()
        && match switching.asked {
            Asked::Words { request, breaker } => {
                [request, breaker].into_iter().all(|at| memory.half(at).is_ok_and(|word| word < 2))
            }
            Asked::State { .. } => true,
        }
}

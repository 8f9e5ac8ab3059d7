//! One conversation with each interpreter of each target, all at the same time.
//!
//! It knows how to get in and out. What is said is its user's matter.

use std::thread;
use std::time::Duration;

use spyhole_agent::bundle::Feature;
use spyhole_agent::message;
use spyhole_attach::{Gate, Interpreter};
use spyhole_proc::pidfd::Pidfd;

use crate::conversation::{Conversation, Hold};
use crate::evaluate::Reach;
use crate::failure;
use crate::interpreters;
use crate::model::{EvalError, Left, Place};
use crate::target::Target;

/// What is said in each interpreter.
pub(crate) struct Probing<'a, Talk> {
    pub reach: &'a Reach,
    pub features: &'a [Feature],
    pub first: message::Request,
    pub talk: &'a Talk,
    /// Hears of those that could not be entered.
    pub unfit: &'a (dyn Fn(Place, &EvalError) + Sync),
    /// Hears how many interpreters a process has that were not known of.
    pub more: &'a (dyn Fn(usize) + Sync),
}

/// How it went in one interpreter.
#[derive(Clone, Debug)]
pub struct Ended<Answer> {
    pub place: Place,
    pub outcome: Result<Answer, EvalError>,
    pub left: Option<Left>,
}

impl<Answer> Ended<Answer> {
    /// The module that was asked for is not there.
    pub fn is_not_loaded(&self) -> bool {
        self.outcome.as_ref().is_err_and(|error| error.type_name == failure::NOT_LOADED)
    }
}

impl<Talk, Answer> Probing<'_, Talk>
where
    Talk: Fn(&mut Conversation<'_>) -> Result<Answer, EvalError> + Sync,
    Answer: Send,
{
    /// In all targets.
    pub(crate) fn of_all(&self, targets: &[Target]) -> Vec<Ended<Answer>> {
        thread::scope(|scope| {
            let threads: Vec<_> =
                targets.iter().map(|target| scope.spawn(move || self.target(target))).collect();
            threads.into_iter().flat_map(joined).collect()
        })
    }

    /// Every interpreter of a process unless one is named.
    fn target(&self, target: &Target) -> Vec<Ended<Answer>> {
        let failed = |error| {
            let place = Place { pid: target.pid, interpreter: 0 };
            (self.unfit)(place, &error);
            vec![Ended { place, outcome: Err(error), left: None }]
        };
        let Some(process) = &target.process else { return failed(failure::no_process(target.pid)) };
        let opened = interpreters::choose(target, process).and_then(|chosen| {
            let (hold, interpreter) = (Hold::Borrowed(process), chosen.unwrap_or_default());
            Conversation::open_for(hold, interpreter, self.reach, self.features, &self.first)
        });
        let mut conversation = match opened {
            Ok(conversation) => conversation,
            Err(error) => return failed(error),
        };
        if target.interpreter.is_some() || conversation.others().is_empty() {
            let outcome = (self.talk)(&mut conversation);
            return vec![ended(conversation, outcome)];
        }
        let others = conversation.others().to_vec();
        (self.more)(others.len());
        let gate = conversation.gate();
        let (mut all, outcome) = thread::scope(|scope| {
            let gate = &gate;
            let threads: Vec<_> = others
                .iter()
                .map(|other| scope.spawn(move || self.another(gate, process, *other)))
                .collect();
            let outcome = (self.talk)(&mut conversation);
            (threads.into_iter().map(joined).collect::<Vec<_>>(), outcome)
        });
        drop(gate);
        if all.iter().any(|one| one.left.as_ref().is_some_and(|left| !left.kept.is_empty())) {
            conversation.others_stay();
        }
        all.push(ended(conversation, outcome));
        all.sort_by_key(|one| one.place);
        all
    }

    fn another(
        &self,
        gate: &Result<Gate, EvalError>,
        process: &Pidfd,
        interpreter: Interpreter,
    ) -> Ended<Answer> {
        let place = Place { pid: process.pid, interpreter: interpreter.id };
        let opened = gate.as_ref().map_err(Clone::clone).and_then(|gate| {
            let hold = Hold::Borrowed(process);
            Conversation::through_for(gate, hold, interpreter, self.features, &self.first)
        });
        match opened {
            Ok(mut conversation) => {
                let outcome = (self.talk)(&mut conversation);
                ended(conversation, outcome)
            }
            Err(error) => {
                (self.unfit)(place, &error);
                Ended { place, outcome: Err(error), left: None }
            }
        }
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Of a process that has ended nothing is left.
fn ended<Answer>(
    conversation: Conversation<'_>,
    outcome: Result<Answer, EvalError>,
) -> Ended<Answer> {
    let place = conversation.place();
    let left = (!conversation.process_ended(Duration::ZERO)).then(|| conversation.leave());
    Ended { place, outcome, left }
}

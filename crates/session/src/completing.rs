//! Candidates for the end of a line, asked of the agent while a person waits.

use std::time::{Duration, Instant};

use spyhole_agent::message::Event;

use crate::conversation::{Conversation, Incoming};
use crate::model::Candidate;

/// Where in the text (bytes) the completed word begins, and what it could become.
pub(crate) type Found = (usize, Vec<Candidate>);

impl Conversation<'_> {
    /// Nothing is found if there is no answer within `limit`. What came meanwhile is given, too.
    pub(crate) fn completed(&mut self, text: &str, limit: Duration) -> (Found, Vec<Event>) {
        let nothing = (text.len(), Vec::new());
        let mut others = Vec::new();
        let number = self.complete(text);
        let deadline = Instant::now() + limit;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Incoming::Event(Event::Candidates(found)) if found.job == number => {
                    let start =
                        text.char_indices().nth(found.start).map_or(text.len(), |(at, _)| at);
                    let names = found.names.into_iter();
                    let candidates = names.map(|n| Candidate { name: n.name, kind: n.kind });
                    return ((start, candidates.collect()), others);
                }
                Incoming::Event(Event::Refused(refused)) if refused.job == number => {
                    return (nothing, others);
                }
                Incoming::Event(other) => others.push(other),
                Incoming::Nothing | Incoming::End => return (nothing, others),
            }
        }
    }
}

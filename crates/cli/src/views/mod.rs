//! Models become text, or JSON. Only `terminal` writes.

pub(crate) mod answers;
pub(crate) mod clock;
pub(crate) mod difference;
pub(crate) mod doctor;
pub(crate) mod escape;
pub(crate) mod json;
pub(crate) mod leaving;
pub(crate) mod log;
pub(crate) mod objects;
pub(crate) mod pager;
pub(crate) mod processes;
pub(crate) mod report;
pub(crate) mod requests;
pub(crate) mod stacks;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod trace;
pub(crate) mod traceback;
pub(crate) mod watch;
pub(crate) mod width;

#[cfg(test)]
mod hostile;

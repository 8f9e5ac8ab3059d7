//! The interactive prompt.

pub(crate) mod conversation;
pub(crate) mod distant;
pub(crate) mod editor;
pub(crate) mod history;
pub(crate) mod lexer;
pub(crate) mod plain;
pub(crate) mod rich;
pub(crate) mod shell;

#[cfg(test)]
mod scripted;

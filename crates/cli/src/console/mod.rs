//! The interactive prompt.

pub(crate) mod commands;
pub(crate) mod conversation;
pub(crate) mod debugger;
pub(crate) mod distant;
pub(crate) mod editor;
mod files;
pub(crate) mod history;
mod indent;
pub(crate) mod lexer;
pub(crate) mod lines;
pub(crate) mod plain;
pub(crate) mod rich;
pub(crate) mod shell;

#[cfg(test)]
mod scripted;

//! The program as its users run it.

mod bad_targets;
mod console;
mod demo;
mod docs;
mod eval;
mod generated;
mod help;
mod output;
mod processes;
mod program;
mod screens;
mod sources;
mod unreadable;
mod usage;
mod watch;

//! The ispy shell: what an ini file names, who listens there, and the words that are spoken with one.
//!
//! It knows files, sockets and lines. It knows no commands of plugins: the process has them.

pub mod ini;
pub mod link;
pub mod servers;

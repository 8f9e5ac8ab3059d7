//! Tests on real processes: every supported Python, in the states that a program can be in.
//!
//! Each test starts its own targets under a hard time limit, runs the program on them, and checks from outside that
//! they are as they were. The versions of the full set run every test; the others run one for each command, unless
//! `SPYHOLE_TEST_ALL=1`.

mod program;
#[macro_use]
mod versions;
mod meanwhile;
mod served;
mod subjects;

mod apache;
mod catch;
mod console;
mod containers;
mod demo;
mod doorbell;
mod embedded;
mod endings;
mod evaluation;
mod forks;
mod freezing;
mod interpreters;
mod interrupts;
mod kinds;
mod limits;
mod many;
mod nothing_left;
mod objects;
mod pause;
mod places;
mod postmortem;
mod refusals;
mod reports;
mod requests;
mod rousing;
mod signals;
mod situations;
mod smoke;
mod stack;
mod suspended;
mod takeover;
mod trace;
mod uwsgi;
mod values;
mod waits;

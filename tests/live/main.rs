//! Live tests.

mod stack;

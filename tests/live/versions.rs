//! Which Python a test runs on, and what is written down about it.

use spyhole_testkit::{Interpreter, census, interpreters, required};

/// The versions that run every test.
const FULL: &[&str] = &["3.6", "3.8", "3.11", "3.12", "3.14"];

/// Whether all versions run every test.
fn everything() -> bool {
    std::env::var_os("SPYHOLE_TEST_ALL").is_some_and(|value| value == "1")
}

/// Runs a test of the full set on one version, or prints why it does not.
pub(crate) fn full(test: &str, minor: &str, body: fn(&Interpreter)) {
    if FULL.contains(&minor) || everything() {
        on(test, minor, body);
    } else {
        println!("{test} is left out on {minor}: SPYHOLE_TEST_ALL=1 runs it");
    }
}

/// Runs a test on one version; where that is not installed, it is skipped, or fails on the machine that decides.
pub(crate) fn on(test: &str, minor: &str, body: fn(&Interpreter)) {
    let Some(interpreter) = interpreters::for_version(minor) else {
        assert!(!required::enforced(), "no Python {minor} on this machine");
        census::skipped(test, &format!("no Python {minor} on this machine"));
        return;
    };
    body(&interpreter);
    census::covered(test, &interpreter);
}

/// Makes a module of tests out of a function, one for each version that is named.
macro_rules! each {
    ($how:ident, $body:ident, $($name:ident = $minor:literal),*) => {
        mod $body {
            $(#[test]
            fn $name() {
                $crate::versions::$how(
                    concat!(module_path!(), "::", stringify!($name)), $minor, super::$body);
            })*
        }
    };
}

/// Every version runs it.
macro_rules! on_all {
    ($($body:ident)*) => { $(each! { on, $body,
        py36 = "3.6", py37 = "3.7", py38 = "3.8", py39 = "3.9", py310 = "3.10", py311 = "3.11", py312 = "3.12",
        py313 = "3.13", py314 = "3.14", py315 = "3.15" })* };
}

/// The versions of the full set run it.
macro_rules! on_full_set {
    ($($body:ident)*) => { $(each! { full, $body,
        py36 = "3.6", py37 = "3.7", py38 = "3.8", py39 = "3.9", py310 = "3.10", py311 = "3.11", py312 = "3.12",
        py313 = "3.13", py314 = "3.14", py315 = "3.15" })* };
}

/// The oldest, one of the most used, and a new one run it: for what does not depend on the version, or takes long.
macro_rules! on_three {
    ($($body:ident)*) => { $(each! { on, $body, py36 = "3.6", py311 = "3.11", py314 = "3.14" })* };
}

/// One version runs it: for what the interpreter has no part in.
macro_rules! on_one {
    ($($body:ident)*) => { $(each! { on, $body, py311 = "3.11" })* };
}

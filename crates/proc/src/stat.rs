//! `/proc/PID/status`.

use std::io;

pub struct Status {
    pub state: char,
    pub tracer: i32,
    pub seccomp: u32,
    pub shadow_stack: bool,
}

impl Status {
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/status"))?))
    }

    pub fn of_thread(pid: i32, tid: i32) -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status"))?))
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
                .unwrap_or_default()
        };
        Self {
            state: field("State").chars().next().unwrap_or('?'),
            tracer: field("TracerPid").parse().unwrap_or(0),
            seccomp: field("Seccomp").parse().unwrap_or(0),
            shadow_stack: field("x86_Thread_features").contains("shstk"),
        }
    }
}

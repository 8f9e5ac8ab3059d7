//! Records of the control channel, which are heard while Python code is busy.

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Raise `KeyboardInterrupt` in the job's thread if the job still runs its code.
    Interrupt { job: u32 },
    /// Give up the job's wait for its place, or in it.
    Cancel { job: u32 },
    /// The main thread runs Python: the job that waits for it becomes a pending call.
    Queue { job: u32 },
    /// Say where the job is.
    Where { job: u32 },
    /// The stub's watcher has to look after the time of a freeze, or need not any more.
    Watch { on: bool },
    /// The job's thread is stuck: let a fresh one serve.
    TakeOver { job: u32 },
}

impl Control {
    /// The record's bytes.
    pub fn encode(self) -> [u8; 8] {
        let (op, job) = match self {
            Control::Interrupt { job } => (b'I', job),
            Control::Cancel { job } => (b'C', job),
            Control::Queue { job } => (b'Q', job),
            Control::Where { job } => (b'W', job),
            Control::Watch { on } => (b'F', on.into()),
            Control::TakeOver { job } => (b'T', job),
        };
        let [a, b, c, d] = job.to_le_bytes();
        [op, 0, 0, 0, a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        assert_eq!(Control::Interrupt { job: 0x0102 }.encode(), *b"I\0\0\0\x02\x01\0\0");
        assert_eq!(Control::Where { job: 1 }.encode(), *b"W\0\0\0\x01\0\0\0");
        assert_eq!(Control::TakeOver { job: 1 }.encode(), *b"T\0\0\0\x01\0\0\0");
    }
}

//! Why the kernel refuses.

pub struct Cause;

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the kernel refuses")
    }
}

impl Cause {
    pub fn hint(&self) -> Option<String> {
        None
    }
}

pub fn explain(_pid: i32) -> Cause {
    Cause
}

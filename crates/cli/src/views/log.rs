//! What the libraries note, shown with `--verbose`.

use log::{LevelFilter, Log, Metadata, Record};

use super::terminal::Terminal;
use super::text::{Ink, Text};

struct Notes(Terminal);

impl Log for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("spyhole")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut text = Text::new();
            text.ink(Ink::Faint, format!("{}\n", record.args()));
            self.0.talk(&text);
        }
    }

    fn flush(&self) {}
}

/// From here on notes are talk.
pub(crate) fn install(terminal: &Terminal) {
    if log::set_boxed_logger(Box::new(Notes(terminal.clone()))).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

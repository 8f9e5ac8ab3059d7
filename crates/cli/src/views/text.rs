//! Text with meaning, before it knows whether there are colours.

use anstyle::{AnsiColor, Style};

/// What a piece of text is. A colour only repeats what the words or a sign already say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Strong,
    Faint,
    Bad,
    Advice,
    Added,
    Removed,
    Head,
    /// What points at something in the line above.
    Mark,
}

impl Ink {
    pub(crate) fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Advice => AnsiColor::Cyan.on_default(),
            Self::Added => AnsiColor::Green.on_default(),
            Self::Removed => AnsiColor::Red.on_default(),
            Self::Mark => AnsiColor::Yellow.on_default().bold(),
            Self::Head => Style::new().bold().underline(),
        }
    }
}

/// Pieces of text in a row. They may hold anything: what writes them escapes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(Vec<(Ink, String)>);

impl Text {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self(vec![(Ink::Plain, text.into())])
    }

    pub(crate) fn ink(&mut self, ink: Ink, text: impl Into<String>) -> &mut Self {
        self.0.push((ink, text.into()));
        self
    }

    pub(crate) fn plain(&mut self, text: impl Into<String>) -> &mut Self {
        self.ink(Ink::Plain, text)
    }

    pub(crate) fn line(&mut self, text: impl Into<String>) -> &mut Self {
        self.ink(Ink::Plain, text).ink(Ink::Plain, "\n")
    }

    pub(crate) fn append(&mut self, other: Text) -> &mut Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn pieces(&self) -> &[(Ink, String)] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, text)| text.is_empty())
    }

    pub(crate) fn ends_a_line(&self) -> bool {
        self.0
            .iter()
            .rev()
            .find(|(_, text)| !text.is_empty())
            .is_none_or(|(_, text)| text.ends_with('\n'))
    }
}

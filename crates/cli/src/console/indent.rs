//! What keys mean: those of emacs or vi, and Enter, which goes on with the indentation of the block.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use reedline::{
    EditCommand, EditMode, Emacs, KeyCode, KeyModifiers, Keybindings, PromptEditMode,
    ReedlineEvent, ReedlineRawEvent, Vi, default_emacs_keybindings, default_vi_insert_keybindings,
    default_vi_normal_keybindings, default_vi_visual_keybindings,
};

use super::lexer::{self, Kind, Open};
use super::rich::{INDENT, MENU};

/// The text as it was drawn last, and where the cursor is in it; `None` if keys have come since.
pub(super) type Drawn = Arc<Mutex<Option<(String, usize)>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keys {
    Emacs,
    Vi,
}

impl Keys {
    /// What other programs use, too: readline(3), `editing-mode`.
    pub(crate) fn usual() -> Self {
        let file = std::env::var_os("INPUTRC").map(std::path::PathBuf::from).or_else(|| {
            std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".inputrc"))
        });
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        Self::of_inputrc(&text)
    }

    /// Without any indentation.
    pub(super) fn mode(self) -> Box<dyn EditMode> {
        match self {
            Self::Emacs => Box::new(Emacs::new(with_own(default_emacs_keybindings()))),
            Self::Vi => Box::new(Vi::new(
                with_own(default_vi_insert_keybindings()),
                default_vi_normal_keybindings(),
                default_vi_visual_keybindings(),
            )),
        }
    }

    fn of_inputrc(text: &str) -> Self {
        let is_vi = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            matches!(words[..], ["set", "editing-mode", kind] if kind.eq_ignore_ascii_case("vi"))
        };
        if text.lines().any(is_vi) { Self::Vi } else { Self::Emacs }
    }
}

fn with_own(mut bindings: Keybindings) -> Keybindings {
    let complete = ReedlineEvent::UntilFound(vec![
        ReedlineEvent::Menu(MENU.to_owned()),
        ReedlineEvent::MenuNext,
    ]);
    bindings.add_binding(KeyModifiers::NONE, KeyCode::Tab, complete);
    bindings.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    let newline = ReedlineEvent::Edit(vec![EditCommand::InsertNewline]);
    bindings.add_binding(KeyModifiers::ALT, KeyCode::Enter, newline);
    bindings
}

pub(super) struct Indenting {
    inner: Box<dyn EditMode>,
    drawn: Drawn,
    one_line: Arc<AtomicBool>,
    /// A menu may be open, in which Enter chooses.
    in_menu: bool,
}

impl Indenting {
    pub(super) fn new(keys: Keys, drawn: &Drawn, one_line: &Arc<AtomicBool>) -> Self {
        let (drawn, one_line) = (Arc::clone(drawn), Arc::clone(one_line));
        Self { inner: keys.mode(), drawn, one_line, in_menu: false }
    }

    /// Enter, pressed at the end of a text that is not finished.
    fn entered(&self, drawn: Option<(String, usize)>) -> Option<ReedlineEvent> {
        let (text, cursor) = drawn?;
        let typed_as_code = !self.in_menu && !self.one_line.load(Ordering::SeqCst);
        if !typed_as_code || cursor != text.len() || text.trim_start().starts_with(':') {
            return None;
        }
        let indent = after(&text)?;
        let commands = vec![EditCommand::InsertNewline, EditCommand::InsertString(indent)];
        Some(ReedlineEvent::Edit(commands))
    }
}

impl EditMode for Indenting {
    fn parse_event(&mut self, event: ReedlineRawEvent) -> ReedlineEvent {
        // Keys that come faster than they are drawn are typed by a machine, which has its own indentation.
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner).take();
        let parsed = self.inner.parse_event(event);
        match &parsed {
            ReedlineEvent::Enter => {
                let entered = self.entered(drawn);
                self.in_menu = false;
                return entered.unwrap_or(parsed);
            }
            ReedlineEvent::UntilFound(events) => {
                self.in_menu |= events.contains(&ReedlineEvent::Menu(MENU.to_owned()));
            }
            ReedlineEvent::Edit(commands) => {
                self.in_menu &= commands.iter().all(|command| {
                    matches!(command, EditCommand::InsertChar(letter) if letter.is_alphanumeric() || *letter == '_')
                });
            }
            ReedlineEvent::Esc | ReedlineEvent::CtrlC => self.in_menu = false,
            _ => {}
        }
        parsed
    }

    fn edit_mode(&self) -> PromptEditMode {
        self.inner.edit_mode()
    }
}

/// What the line after an unfinished text begins with; `None` if it is finished, or ends within a string.
fn after(text: &str) -> Option<String> {
    let open = lexer::open(&lexer::without_indent(text));
    let tokens = lexer::tokens(text);
    let is_code = |kind| !matches!(kind, Kind::Space | Kind::Comment | Kind::Newline);
    let last = tokens.iter().rev().find(|token| is_code(token.kind))?;
    let word = &text[last.start..last.end];
    if open == Open::Nothing || (open == Open::Token && last.kind == Kind::Text) {
        return None;
    }
    let line = text.rsplit('\n').next().unwrap_or(text);
    let bare = line.trim_start();
    let mut indent = line[..line.len() - bare.len()].to_owned();
    let first = bare.split(|character: char| !character.is_alphanumeric()).next();
    let opens = if open == Open::Block { word == ":" } else { matches!(word, "(" | "[" | "{") };
    if opens {
        indent.push_str(INDENT);
    } else if open == Open::Block
        && matches!(first, Some("return" | "raise" | "break" | "continue" | "pass"))
    {
        // What follows stands one step further out, or is the empty line that ends all.
        indent.truncate(indent.len().saturating_sub(INDENT.len()));
    }
    Some(indent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indentation_goes_on() {
        for (text, indent) in [
            ("if x:", Some("    ")),
            ("if x:  # why", Some("    ")),
            ("if x:\n    y = 1", Some("    ")),
            ("def f():\n    for a in b:", Some("        ")),
            ("def f():\n    for a in b:\n        return a", Some("    ")),
            ("def f():\n    return 1", Some("")),
            ("x = [", Some("    ")),
            ("x = [\n    1,", Some("    ")),
            ("@decorated", Some("")),
            ("x = '''a", None),
            ("x = 1", None),
            ("if x:\n    y\n    ", None),
            ("", None),
        ] {
            assert_eq!(after(text).as_deref(), indent, "{text:?}");
        }
    }

    #[test]
    fn keys_are_those_of_other_programs() {
        assert_eq!(Keys::of_inputrc("# set editing-mode vi\n"), Keys::Emacs);
        assert_eq!(Keys::of_inputrc("set bell-style none\n  set editing-mode vi\n"), Keys::Vi);
    }
}

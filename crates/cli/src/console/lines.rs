//! Lines of a shell of commands: an editor that knows nothing of Python.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use reedline::{
    ColumnarMenu, Completer, CompletionResult, FileBackedHistory, MenuBuilder, Prompt,
    PromptEditMode, PromptHistorySearch, Reedline, ReedlineMenu, Signal, Span, Suggestion,
};

use super::history;
use super::indent::Keys;
use super::plain::{Line, Lines, StandardInput};
use super::rich::MENU;
use crate::failure::{Failure, Kind};
use crate::views::escape::is_dangerous;
use crate::views::terminal::Terminal;
use crate::views::text::Text;

/// What the last word of a line may become.
pub(crate) trait Words: Send {
    fn words(&mut self, line: &str) -> Vec<String>;

    /// Each of them is a word of its own, and a blank may follow it.
    fn are_whole(&self) -> bool {
        true
    }
}

/// One that may be exchanged while a level is entered or left.
pub(crate) type Shared = Arc<Mutex<Box<dyn Words>>>;

/// Words that are known beforehand: of a command, and after it.
pub(crate) struct Listed {
    pub(crate) commands: Vec<String>,
    /// What may follow a command.
    pub(crate) after: Vec<(&'static str, Vec<String>)>,
}

impl Words for Listed {
    fn words(&mut self, line: &str) -> Vec<String> {
        let (before, last) = line.rsplit_once(' ').unwrap_or(("", line));
        let before: Vec<&str> = before.split_whitespace().collect();
        let there: &[String] = match before.as_slice() {
            [] => &self.commands,
            [command] => {
                let after = self.after.iter().find(|(name, _)| name == command);
                after.map_or(&[], |(_, words)| words.as_slice())
            }
            _ => &[],
        };
        there.iter().filter(|word| word.starts_with(last)).cloned().collect()
    }
}

pub(crate) enum LineEditor {
    Rich { reedline: Box<Reedline>, terminal: Terminal },
    Plain { input: StandardInput, terminal: Terminal, shown: Shown },
}

/// What is shown of lines that are not edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    /// Somebody types them.
    Prompts,
    /// The lines, too: they come from a pipe.
    PromptsAndLines,
}

impl LineEditor {
    pub(crate) fn rich(
        words: &Shared,
        history_file: Option<PathBuf>,
        end: Arc<AtomicBool>,
        terminal: &Terminal,
    ) -> Self {
        let menu = ColumnarMenu::default().with_name(MENU);
        let mut reedline = Reedline::create()
            .with_completer(Box::new(OfShell(Arc::clone(words))))
            .with_quick_completions(true)
            .with_partial_completions(true)
            .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
            .with_edit_mode(Keys::usual().mode())
            .with_ansi_colors(terminal.has_color())
            .with_history_exclusion_prefix(Some(" ".to_owned()))
            .with_break_signal(end)
            .use_bracketed_paste(true);
        let history = match history_file {
            Some(file) => FileBackedHistory::with_file(history::CAPACITY, file),
            None => FileBackedHistory::new(history::CAPACITY),
        };
        if let Ok(history) = history {
            reedline = reedline.with_history(Box::new(history));
        }
        Self::Rich { reedline: Box::new(reedline), terminal: terminal.clone() }
    }

    /// The next line, after a prompt. What stands before the last line of the prompt is text.
    pub(crate) fn read(&mut self, prompt: &str) -> Result<Line, Failure> {
        let at = prompt.rfind('\n').map_or(0, |at| at + 1);
        let (text, prompt) = prompt.split_at(at);
        match self {
            Self::Rich { reedline, terminal } => {
                if !text.is_empty() {
                    terminal.data(&Text::of(text))?;
                }
                let prompt = terminal.rendered(&Text::of(prompt), false);
                match reedline.read_line(&OfLevel(prompt)) {
                    Ok(Signal::Success(line)) => {
                        let _ = reedline.sync_history();
                        Ok(Line::Text(line))
                    }
                    Ok(Signal::CtrlC) => Ok(Line::Cleared),
                    Ok(Signal::CtrlD) => Ok(Line::End),
                    Ok(_) => {
                        terminal.talk(&Text::of("\n"));
                        Ok(Line::End)
                    }
                    Err(error) => {
                        Err(Failure::new(Kind::Failed, "cannot use the terminal").caused_by(&error))
                    }
                }
            }
            Self::Plain { input, terminal, shown } => {
                if *shown == Shown::Prompts {
                    terminal.data(&Text::of(format!("{text}{prompt}")))?;
                }
                let line = input.next_line()?;
                if *shown == Shown::PromptsAndLines {
                    let typed = if let Line::Text(line) = &line { line } else { "" };
                    terminal.data(&Text::of(format!("{text}{prompt}{typed}\n")))?;
                }
                Ok(line)
            }
        }
    }
}

/// Lines for a prompt within the shell, out of the same input; shown, if those of the shell are.
pub(crate) struct Within<'e> {
    pub(crate) input: &'e mut StandardInput,
    pub(crate) shown: Option<Terminal>,
}

impl Lines for Within<'_> {
    fn next_line(&mut self) -> Result<Line, Failure> {
        let line = self.input.next_line()?;
        if let (Some(terminal), Line::Text(line)) = (&self.shown, &line) {
            terminal.data(&Text::of(format!("{line}\n")))?;
        }
        Ok(line)
    }
}

struct OfLevel(String);

impl Prompt for OfLevel {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}

struct OfShell(Shared);

impl Completer for OfShell {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        let Some(before) = line.get(..position) else { return CompletionResult::Pending };
        let begin = before.rfind(' ').map_or(0, |at| at + 1);
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = words.words(before);
        let append_whitespace = words.are_whole();
        let suggestions: Vec<Suggestion> = found
            .into_iter()
            // A word is typed into the line as it is: one that commands the terminal is none.
            .filter(|word| !word.chars().any(|one| is_dangerous(one) || one.is_whitespace()))
            .map(|value| Suggestion {
                value,
                span: Span::new(begin, position),
                append_whitespace,
                ..Suggestion::default()
            })
            .collect();
        if suggestions.is_empty() {
            CompletionResult::Pending
        } else {
            CompletionResult::fresh(suggestions)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Hostile;

    impl Words for Hostile {
        fn words(&mut self, _line: &str) -> Vec<String> {
            ["shell", "a\x1b[2J", "a b", "a\n"].map(str::to_owned).into()
        }
    }

    #[test]
    fn words_of_a_level() {
        let mut listed = Listed {
            commands: vec!["shell".into(), "servers".into(), "exit".into()],
            after: vec![("shell", vec!["python".into(), "process".into()])],
        };
        assert_eq!(listed.words("s"), ["shell", "servers"]);
        assert_eq!(listed.words("shell py"), ["python"]);
        assert!(listed.words("shell python x").is_empty() && listed.words("exit ").is_empty());
    }

    #[test]
    fn hostile_words_are_no_candidates() {
        let words: Shared = Arc::new(Mutex::new(Box::new(Hostile)));
        let result = OfShell(words).complete("help s", 6);
        let values: Vec<&str> =
            result.suggestions().iter().map(|suggestion| suggestion.value.as_str()).collect();
        assert_eq!(values, ["shell"]);
        assert_eq!(result.suggestions()[0].span, Span::new(5, 6));
    }
}

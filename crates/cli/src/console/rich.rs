//! The editor for terminals: many lines, history, search, completion, colours. Reedline does the work.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nu_ansi_term::{Color, Style};
use reedline::{
    ColumnarMenu, Completer, CompletionResult, ExternalPrinter, FileBackedHistory, Highlighter,
    MenuBuilder, Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus, Reedline,
    ReedlineMenu, Signal, Span, StyledText, Suggestion, ValidationResult, Validator,
};
use spyhole_session::console::Event;
use spyhole_session::model::Candidate;
use spyhole_session::postmortem::PROMPT;

use super::commands;
use super::conversation::{Conversation, Wants};
use super::editor::{Editor, Input};
use super::history;
pub(crate) use super::indent::Keys;
use super::indent::{Drawn, Indenting};
use super::lexer::{self, Kind, Open};
use super::shell::{late, locked};
use crate::failure::{self, Failure};
use crate::views::escape::{escape, is_dangerous};
use crate::views::terminal::Terminal;
use crate::views::text::Text;

pub(super) const MENU: &str = "completion";
/// How often late output is looked for while somebody types.
const LISTENING: Duration = Duration::from_millis(50);
/// Blocks of late output that wait to be shown.
const LATE_LIMIT: usize = 256;
/// What Tab inserts where there is nothing to complete.
pub(super) const INDENT: &str = "    ";

type Tick = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct RichEditor<Talk> {
    reedline: Reedline,
    conversation: Arc<Mutex<Talk>>,
    late: SyncSender<String>,
    end: Arc<AtomicBool>,
    one_line: Arc<AtomicBool>,
    /// An event that the listener took and that the shell must see.
    last: Arc<Mutex<Option<Event>>>,
    terminal: Terminal,
    /// Has the prompt drawn anew, with the time that is left.
    tick: Tick,
}

impl<Talk: Conversation + 'static> RichEditor<Talk> {
    /// `end` makes a waiting prompt return, as if the input had ended.
    pub(crate) fn new(
        conversation: &Arc<Mutex<Talk>>,
        history_file: Option<PathBuf>,
        end: Arc<AtomicBool>,
        terminal: &Terminal,
        keys: Keys,
    ) -> Self {
        let one_line = Arc::new(AtomicBool::new(false));
        let printer = ExternalPrinter::new(LATE_LIMIT);
        let late = printer.sender();
        let drawn = Drawn::default();
        let menu = ColumnarMenu::default().with_name(MENU);
        let mut reedline = Reedline::create()
            .with_validator(Box::new(Blocks { one_line: Arc::clone(&one_line) }))
            .with_completer(Box::new(Names { conversation: Arc::clone(conversation) }))
            .with_quick_completions(true)
            .with_partial_completions(true)
            .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
            .with_edit_mode(Box::new(Indenting::new(keys, &drawn, &one_line)))
            .with_highlighter(Box::new(Colors { drawn }))
            .with_ansi_colors(terminal.has_color())
            .with_history_exclusion_prefix(Some(" ".to_owned()))
            .with_external_printer(printer)
            .with_break_signal(Arc::clone(&end))
            .with_poll_interval(LISTENING)
            .use_bracketed_paste(true);
        let history = match history_file {
            Some(file) => FileBackedHistory::with_file(history::CAPACITY, file),
            None => FileBackedHistory::new(history::CAPACITY),
        };
        if let Ok(history) = history {
            reedline = reedline.with_history(Box::new(history));
        }
        let repaint = reedline.repaint_signal();
        let tick: Tick = Arc::new(move || repaint.request_repaint());
        Self {
            tick,
            reedline,
            conversation: Arc::clone(conversation),
            late,
            end,
            one_line,
            last: Arc::default(),
            terminal: terminal.clone(),
        }
    }

    /// Shows what comes late above the line that is being typed.
    fn listen(&self, reading: &Arc<AtomicBool>) -> std::io::Result<JoinHandle<()>> {
        let (conversation, late_lines) = (Arc::clone(&self.conversation), self.late.clone());
        let (reading, end, last) =
            (Arc::clone(reading), Arc::clone(&self.end), Arc::clone(&self.last));
        let (terminal, tick) = (self.terminal.clone(), Arc::clone(&self.tick));
        let mut shown = None;
        std::thread::Builder::new().name("late output".to_owned()).spawn(move || {
            while reading.load(Ordering::SeqCst) {
                let event = locked(&conversation).next(Duration::ZERO);
                let Some(event) = event else {
                    let left = locked(&conversation).frozen().map(|left| left.as_secs());
                    if left != shown {
                        shown = left;
                        tick();
                    }
                    std::thread::park_timeout(LISTENING);
                    continue;
                };
                match late(&event, None) {
                    Some(text) => match late_lines.try_send(terminal.rendered(&text, false)) {
                        Ok(()) => {}
                        // Too much at once: the typing goes on, and what was cut is said.
                        Err(TrySendError::Full(_)) => std::thread::park_timeout(LISTENING),
                        Err(TrySendError::Disconnected(_)) => return,
                    },
                    None => {
                        *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                            Some(event);
                        end.store(true, Ordering::SeqCst);
                        return;
                    }
                }
            }
        })
    }
}

impl<Talk: Conversation + 'static> Editor for RichEditor<Talk> {
    fn read(&mut self, wants: Wants) -> Result<Input, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(failure::Kind::Failed, "cannot use the terminal").caused_by(&error)
        };
        self.one_line.store(wants != Wants::Code, Ordering::SeqCst);
        let reading = Arc::new(AtomicBool::new(true));
        let listener = self.listen(&reading).map_err(failed)?;
        let prompt = PythonPrompt { wants, conversation: Arc::clone(&self.conversation) };
        let signal = self.reedline.read_line(&prompt);
        reading.store(false, Ordering::SeqCst);
        listener.thread().unpark();
        let _ = listener.join();
        match signal {
            Ok(Signal::Success(code)) => {
                let _ = self.reedline.sync_history();
                Ok(Input::Code(code))
            }
            Ok(Signal::CtrlC) => Ok(Input::Cleared),
            Ok(Signal::CtrlD) => Ok(Input::End),
            Ok(_) => {
                // Something else than a key ended the line, which is still on the screen.
                self.terminal.talk(&Text::of("\n"));
                Ok(Input::End)
            }
            Err(error) => {
                Err(Failure::new(failure::Kind::Failed, "cannot use the terminal")
                    .caused_by(&error))
            }
        }
    }

    fn last_event(&mut self) -> Option<Event> {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

struct PythonPrompt<Talk> {
    wants: Wants,
    conversation: Arc<Mutex<Talk>>,
}

impl<Talk: Conversation> Prompt for PythonPrompt<Talk> {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed(match self.wants {
            Wants::Code => match locked(&self.conversation).frozen() {
                Some(left) => return Cow::Owned(frozen_prompt(left)),
                None => ">>> ",
            },
            Wants::More => "... ",
            Wants::Command => PROMPT,
            // The question stands above it.
            Wants::Answer => "",
        })
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("... ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let found = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "nothing found, ",
        };
        Cow::Owned(format!("({found}search: {}) ", search.term))
    }
}

/// With the time that is left for a command.
pub(super) fn frozen_prompt(left: Duration) -> String {
    format!("frozen {}s >>> ", left.as_secs_f64().ceil())
}

/// Enter runs what is complete, and otherwise begins a new line.
struct Blocks {
    /// Each line for itself.
    one_line: Arc<AtomicBool>,
}

impl Validator for Blocks {
    fn validate(&self, text: &str) -> ValidationResult {
        if self.one_line.load(Ordering::SeqCst)
            || text.trim_start().starts_with(':')
            || lexer::open(&lexer::without_indent(text)) == Open::Nothing
        {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

struct Colors {
    drawn: Drawn,
}

fn style(kind: Kind) -> Style {
    match kind {
        Kind::Keyword => Color::Magenta.normal(),
        Kind::Text => Color::Green.normal(),
        Kind::Number => Color::Cyan.normal(),
        Kind::Comment => Style::new().dimmed(),
        Kind::Name | Kind::Operator | Kind::Space | Kind::Newline => Style::new(),
    }
}

impl Highlighter for Colors {
    fn highlight(&self, line: &str, cursor: usize) -> StyledText {
        *self.drawn.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some((line.to_owned(), cursor));
        let mut styled = StyledText::new();
        for token in lexer::tokens(line) {
            styled.push((style(token.kind), line[token.start..token.end].to_owned()));
        }
        styled
    }
}

/// Completion from the live objects.
struct Names<Talk> {
    conversation: Arc<Mutex<Talk>>,
}

impl<Talk: Conversation> Completer for Names<Talk> {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        let Some(before) = line.get(..position) else { return CompletionResult::Pending };
        let this_line = before.rsplit('\n').next().unwrap_or(before);
        if this_line.trim().is_empty() {
            return CompletionResult::fresh(vec![Suggestion {
                value: INDENT.to_owned(),
                span: Span::new(position, position),
                ..Suggestion::default()
            }]);
        }
        if let Some((start, found)) = commands::complete(this_line) {
            let candidates =
                found.into_iter().map(|(name, kind)| Candidate { name, kind: kind.to_owned() });
            return suggested(line, position, this_line, start, candidates.collect());
        }
        let (start, candidates) = locked(&self.conversation).complete(this_line);
        suggested(line, position, this_line, start, candidates)
    }
}

fn suggested(
    line: &str,
    position: usize,
    this_line: &str,
    start: usize,
    candidates: Vec<Candidate>,
) -> CompletionResult {
    let Some(begin) = (position - this_line.len())
        .checked_add(start)
        .filter(|begin| *begin <= position && line.is_char_boundary(*begin))
    else {
        return CompletionResult::Pending;
    };
    let suggestions: Vec<Suggestion> = candidates
        .into_iter()
        // A name is typed into the line as it is: one that commands the terminal is none.
        .filter(|candidate| {
            !candidate
                .name
                .chars()
                .any(|character| is_dangerous(character) || matches!(character, '\n' | '\t'))
        })
        .map(|candidate| Suggestion {
            value: candidate.name,
            description: Some(escape(&candidate.kind).into_owned()),
            span: Span::new(begin, position),
            ..Suggestion::default()
        })
        .collect();
    // Of an empty result the menu would make a sentence in capitals; of one that is still to come it shows nothing.
    if suggestions.is_empty() {
        CompletionResult::Pending
    } else {
        CompletionResult::fresh(suggestions)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::Scripted;
    use super::*;

    #[test]
    fn hostile_names_are_no_candidates() {
        let conversation = Arc::new(Mutex::new(Scripted::default().with_names(&[
            "append",
            "a\x1b[2J",
            "a\u{202e}b",
        ])));
        let mut names = Names { conversation };
        let result = names.complete("xs.a", 4);
        let values: Vec<&str> =
            result.suggestions().iter().map(|suggestion| suggestion.value.as_str()).collect();
        assert_eq!(values, ["append"]);
        assert_eq!(result.suggestions()[0].span, Span::new(3, 4));
    }

    #[test]
    fn tab_at_the_beginning_of_a_line_indents() {
        let conversation = Arc::new(Mutex::new(Scripted::default().with_names(&["append"])));
        let mut names = Names { conversation };
        let result = names.complete("if x:\n", 6);
        assert_eq!(result.suggestions()[0].value, INDENT);
        let result = names.complete("if x:\n    é.a", "if x:\n    é.a".len());
        assert_eq!(result.suggestions()[0].span.start, "if x:\n    é.".len());
    }

    #[test]
    fn enter_runs_what_is_complete() {
        let blocks = Blocks { one_line: Arc::default() };
        let complete = |text: &str| matches!(blocks.validate(text), ValidationResult::Complete);
        assert!(
            complete("1") && complete("  1") && complete(":help") && complete("if x:\n    y\n")
        );
        assert!(!complete("if x:") && !complete("(") && !complete("if x:\n    y"));
        blocks.one_line.store(true, Ordering::SeqCst);
        assert!(complete("if x:") && complete("(") && complete(""));
    }
}

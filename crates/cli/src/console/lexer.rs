//! A lexer for Python that never gives up: it colours lines that are half typed, and tells whether more must come.
//!
//! It knows strings, brackets, comments, continued lines and blocks (`Lib/tokenize.py`, `Lib/codeop.py`). It knows no
//! grammar: whether complete text is correct, only the process can say.

/// What a piece of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Keyword,
    Name,
    Number,
    Text,
    Comment,
    Operator,
    /// Blanks, and newlines within brackets or after a backslash.
    Space,
    /// A newline that ends a logical line, or an empty one.
    Newline,
}

/// A piece, in bytes of the text. Pieces follow each other without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Why a text is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// It can be run.
    Nothing,
    /// A bracket, a string or a continued line is open.
    Token,
    /// A block, which an empty line ends.
    Block,
}

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// Keywords that begin a compound statement or go on with one.
const HEADERS: [&str; 13] = [
    "async", "class", "def", "elif", "else", "except", "finally", "for", "if", "try", "while",
    "with", "match",
];

/// Those that go on with a block that is open at the same indentation.
const CLAUSES: [&str; 4] = ["elif", "else", "except", "finally"];

pub(crate) fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// Whether a line at the left margin goes on with the block above it.
pub(crate) fn is_clause(line: &str) -> bool {
    let word: &str =
        line.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default();
    CLAUSES.contains(&word)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    open: bool,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Length in bytes of the run of characters that pass.
    fn run(&self, passes: impl Fn(char) -> bool) -> usize {
        self.rest().chars().take_while(|character| passes(*character)).map(char::len_utf8).sum()
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token { kind, start: self.at, end: self.at + length });
        self.at += length;
    }

    fn step(&mut self, first: char) {
        match first {
            '\n' if self.depth > 0 => self.push(Kind::Space, 1),
            '\n' => self.push(Kind::Newline, 1),
            '#' => self.push(Kind::Comment, self.run(|character| character != '\n')),
            '\\' => self.backslash(),
            '\'' | '"' => self.string(0),
            '0'..='9' => self.number(),
            '.' if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => {
                self.number()
            }
            '(' | '[' | '{' => {
                self.depth += 1;
                self.push(Kind::Operator, 1);
            }
            ')' | ']' | '}' => {
                self.depth = self.depth.saturating_sub(1);
                self.push(Kind::Operator, 1);
            }
            '_' => self.word(),
            character if character.is_alphabetic() => self.word(),
            character if character.is_whitespace() => {
                self.push(Kind::Space, self.run(|other| other.is_whitespace() && other != '\n'));
            }
            character => self.push(Kind::Operator, character.len_utf8()),
        }
    }

    /// A backslash at the end of a line continues it.
    fn backslash(&mut self) {
        match self.rest()[1..].chars().next() {
            Some('\n') => self.push(Kind::Space, 2),
            Some(_) => self.push(Kind::Operator, 1),
            None => {
                self.open = true;
                self.push(Kind::Operator, 1);
            }
        }
    }

    fn word(&mut self) {
        let length = self.run(|character| character == '_' || character.is_alphanumeric());
        let word = &self.rest()[..length];
        let after = self.rest()[length..].chars().next();
        let prefix = length <= 2 && word.chars().all(|letter| "rRbBuUfFtT".contains(letter));
        if prefix && matches!(after, Some('\'' | '"')) {
            self.string(length);
        } else {
            let kind = if is_keyword(word) { Kind::Keyword } else { Kind::Name };
            self.push(kind, length);
        }
    }

    fn number(&mut self) {
        let mut length = 0;
        let mut before = ' ';
        for character in self.rest().chars() {
            let sign_of_exponent = matches!(character, '+' | '-')
                && matches!(before, 'e' | 'E')
                && !self.rest().starts_with("0x");
            if !(character.is_ascii_alphanumeric()
                || matches!(character, '.' | '_')
                || sign_of_exponent)
            {
                break;
            }
            length += 1;
            before = character;
        }
        self.push(Kind::Number, length);
    }

    /// A string whose quotes come after `prefix` bytes. One that is not closed goes to the end of its line, or of the
    /// text if it has three quotes.
    fn string(&mut self, prefix: usize) {
        let body = &self.rest()[prefix..];
        let quote = if body.starts_with('"') { '"' } else { '\'' };
        let triple: String = std::iter::repeat_n(quote, 3).collect();
        let long = body.starts_with(&triple);
        let opening = if long { 3 } else { 1 };
        let mut length = prefix + opening;
        let mut closed = false;
        let mut continued = false;
        let mut escaped = false;
        for character in body[opening..].chars() {
            if escaped {
                escaped = false;
                continued = character == '\n';
                length += character.len_utf8();
                continue;
            }
            continued = false;
            if !long && character == '\n' {
                break;
            }
            if character == quote && (!long || self.rest()[length..].starts_with(&triple)) {
                length += opening;
                closed = true;
                break;
            }
            escaped = character == '\\';
            length += character.len_utf8();
        }
        // `'abc\` at the end of the text: the string goes on in a line to come.
        self.open |=
            !closed && (long || escaped || (continued && self.at + length == self.text.len()));
        self.push(Kind::Text, length);
    }
}

fn lex(text: &str) -> Lexer<'_> {
    let mut lexer = Lexer { text, at: 0, depth: 0, open: false, tokens: Vec::new() };
    while let Some(first) = lexer.peek() {
        lexer.step(first);
    }
    lexer
}

/// The pieces of a text, without gaps from its first byte to its last.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    lex(text).tokens
}

/// What keeps a text from being finished.
pub(crate) fn open(text: &str) -> Open {
    let lexer = lex(text);
    if lexer.open || lexer.depth > 0 {
        return Open::Token;
    }
    let last_line_is_empty = text
        .rsplit_once('\n')
        .is_some_and(|(before, last)| last.trim().is_empty() && !before.trim().is_empty());
    if last_line_is_empty || !ends_in_a_block(text, &lexer.tokens) {
        Open::Nothing
    } else {
        Open::Block
    }
}

/// Whether the last logical line stands in a block, or begins one.
fn ends_in_a_block(text: &str, tokens: &[Token]) -> bool {
    let line = tokens
        .split(|token| token.kind == Kind::Newline)
        .rfind(|line| line.iter().any(|token| !matches!(token.kind, Kind::Space | Kind::Comment)));
    let Some(line) = line else { return false };
    let indented = line
        .first()
        .is_some_and(|token| token.kind == Kind::Space && !text[token.start..].starts_with('\\'));
    let mut words = line.iter().filter(|token| !matches!(token.kind, Kind::Space | Kind::Comment));
    let first = words.next().map_or("", |token| &text[token.start..token.end]);
    let last = words.next_back().map_or(first, |token| &text[token.start..token.end]);
    let colon = line.iter().any(|token| &text[token.start..token.end] == ":");
    indented
        || first == "@"
        || last == ":"
        || (colon && HEADERS.contains(&first) && first != "match")
}

/// The text without the blanks that its first line begins with: a leading space only says that the line is not for
/// the history.
pub(crate) fn without_indent(text: &str) -> String {
    let length = text.len() - text.trim_start_matches([' ', '\t']).len();
    if length == 0 {
        return text.to_owned();
    }
    let (indent, _) = text.split_at(length);
    let lines: Vec<&str> =
        text.split('\n').map(|line| line.strip_prefix(indent).unwrap_or(line)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        tokens(text)
            .into_iter()
            .filter(|token| token.kind != Kind::Space)
            .map(|token| (token.kind, &text[token.start..token.end]))
            .collect()
    }

    #[test]
    fn pieces_of_a_line() {
        assert_eq!(
            kinds("if x1 >= 0x1F: rb'a\\'b' # no"),
            [
                (Kind::Keyword, "if"),
                (Kind::Name, "x1"),
                (Kind::Operator, ">"),
                (Kind::Operator, "="),
                (Kind::Number, "0x1F"),
                (Kind::Operator, ":"),
                (Kind::Text, "rb'a\\'b'"),
                (Kind::Comment, "# no"),
            ]
        );
        assert_eq!(
            kinds("1e-5+.5j"),
            [(Kind::Number, "1e-5"), (Kind::Operator, "+"), (Kind::Number, ".5j")]
        );
        assert_eq!(kinds("größe"), [(Kind::Name, "größe")]);
    }

    #[test]
    fn strings() {
        assert_eq!(kinds("'''a\n'b''' c"), [(Kind::Text, "'''a\n'b'''"), (Kind::Name, "c")]);
        assert_eq!(kinds("'a\nb"), [(Kind::Text, "'a"), (Kind::Newline, "\n"), (Kind::Name, "b")]);
        assert_eq!(kinds("''''"), [(Kind::Text, "''''")]);
        assert_eq!(kinds("'' ''"), [(Kind::Text, "''"), (Kind::Text, "''")]);
    }

    #[test]
    fn what_is_complete() {
        for text in [
            "",
            "1 + 1",
            "x = [1,\n2]",
            "'abc'",
            "'abc",
            "'''a\nb'''",
            "for x in y:\n    pass\n",
            "for x in y:\n    pass\n  ",
            "if x: pass\n",
            "def f():\n    return 1\n\nf()",
            "x = {1: 2}",
            "lambda: 3",
            "d[1:2]",
            "x: int = 3",
            ")",
            "if x",
            "a \\\nb",
            "# just a comment",
            "match = {1: 2}",
        ] {
            assert_eq!(open(text), Open::Nothing, "{text:?}");
        }
    }

    #[test]
    fn what_is_not() {
        for text in [
            "(",
            "x = [1,",
            "'''a",
            "a = '''x\ny",
            "a \\",
            "'abc\\",
            "'abc\\\n",
            "f(\n\n",
            "{'a': (1,",
        ] {
            assert_eq!(open(text), Open::Token, "{text:?}");
        }
        for text in [
            "for x in y:",
            "for x in y:\n    pass",
            "if x: pass",
            "class A:  # why",
            "@decorator",
            "@decorator\ndef f():\n    pass",
            "try:\n    f()\nexcept E:",
            "async def f():",
            "match x:",
            "if x:\n    y = '''\n'''",
        ] {
            assert_eq!(open(text), Open::Block, "{text:?}");
        }
    }

    #[test]
    fn clauses_go_on() {
        assert!(is_clause("else:") && is_clause("except E as e:") && is_clause("elif(x):"));
        assert!(!is_clause("elsewhere = 1") && !is_clause("print()") && !is_clause(""));
    }

    #[test]
    fn a_leading_space_is_not_indentation() {
        assert_eq!(without_indent(" x = 1"), "x = 1");
        assert_eq!(without_indent(" for x in y:\n     pass\n"), "for x in y:\n    pass\n");
        assert_eq!(without_indent("a\n b"), "a\n b");
    }

    proptest! {
        #[test]
        fn pieces_cover_any_text(text in any::<String>()) {
            let mut end = 0;
            for token in tokens(&text) {
                prop_assert_eq!(token.start, end);
                prop_assert!(token.end > token.start);
                end = token.end;
            }
            prop_assert_eq!(end, text.len());
            let _ = open(&text);
            let _ = without_indent(&text);
        }

        #[test]
        fn pieces_cover_what_looks_like_python(
            text in r#"([rbfu]{0,2}('''|"""|'|")|[a-z_0-9.é(){}\[\]:#@\\=+-]| |\n|if |def |else){0,60}"#
        ) {
            let end = tokens(&text).last().map_or(0, |token| token.end);
            prop_assert_eq!(end, text.len());
            let _ = open(&text);
        }
    }
}

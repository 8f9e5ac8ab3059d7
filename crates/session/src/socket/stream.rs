//! Text and prompts out of the bytes of a prompt on a socket.
//!
//! It knows telnet's negotiations (RFC 854), UTF-8 and the prompts of Lib/code.py. It keeps no more than what may be
//! the beginning of a prompt, and of a character.

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
/// Negotiations that are answered: two machines could go on for ever.
const ANSWERS: u32 = 64;

/// What the other side waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// `>>> `
    Code,
    /// `... `
    More,
    /// `token: `
    Token,
    /// The end of its text is no line and no prompt, as that of `input('name? ')`.
    Something,
}

const PROMPTS: [(&str, Asks); 3] =
    [(">>> ", Asks::Code), ("... ", Asks::More), ("token: ", Asks::Token)];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Telnet {
    #[default]
    Text,
    Iac,
    /// `DO`, `DONT`, `WILL` or `WONT` came.
    Option(u8),
    Sub,
    SubIac,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    telnet: Telnet,
    answered: u32,
    reply: Vec<u8>,
    /// The beginning of a character, or a carriage return.
    bytes: Vec<u8>,
    /// The end of the text: a prompt, or what may become one.
    held: String,
    /// The line has begun with text that was given already.
    in_line: bool,
    /// The question at the end of the text was told.
    told: bool,
    /// So many prompts that are followed by more are no text.
    spare: u32,
}

impl Stream {
    /// Text to show, of which prompts are no part.
    pub(super) fn feed(&mut self, data: &[u8]) -> String {
        let mut text = std::mem::take(&mut self.held);
        let plain = self.plain(data);
        if plain.is_empty() {
            self.held = text;
            return String::new();
        }
        text.push_str(&plain);
        self.told = false;
        self.drop_spare(&mut text);
        let kept = self.kept(&text);
        self.held = text.split_off(text.len() - kept);
        if !text.is_empty() {
            self.in_line = !text.ends_with('\n');
        }
        text
    }

    /// So many prompts may come that nobody waits for.
    pub(super) fn expect(&mut self, spare: u32) {
        self.spare = spare;
    }

    /// Takes prompts away that stand at the beginning of a line and are followed by something.
    fn drop_spare(&mut self, text: &mut String) {
        let (prompt, _) = PROMPTS[0];
        let mut at = if self.in_line { text.find('\n').map(|end| end + 1) } else { Some(0) };
        while let Some(begin) = at.filter(|_| self.spare > 0) {
            if text[begin..].starts_with(prompt) && text.len() > begin + prompt.len() {
                text.drain(begin..begin + prompt.len());
                self.spare -= 1;
            } else {
                at = text[begin..].find('\n').map(|end| begin + end + 1);
            }
        }
    }

    /// Bytes of the text's end that are a prompt or may become one.
    fn kept(&self, text: &str) -> usize {
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        let at_margin = !self.in_line || line > 0;
        let last = &text[line..];
        let begins = |(prompt, _): &&(&str, Asks)| prompt.starts_with(last);
        if at_margin && PROMPTS.iter().any(|prompt| begins(&prompt)) {
            return last.len();
        }
        // After output that ended in no newline.
        let (code, _) = PROMPTS[0];
        (1..=code.len()).rev().find(|length| last.ends_with(&code[..*length])).unwrap_or(0)
    }

    /// What the text ends with.
    pub(super) fn prompt(&self) -> Option<Asks> {
        PROMPTS.iter().find(|(prompt, _)| *prompt == self.held).map(|(_, asks)| *asks)
    }

    pub(super) fn take_prompt(&mut self) -> Option<Asks> {
        let asks = self.prompt()?;
        self.held.clear();
        self.in_line = false;
        Some(asks)
    }

    /// What was kept back and is no prompt.
    pub(super) fn rest(&mut self) -> Option<String> {
        let text = std::mem::take(&mut self.held);
        self.in_line |= !text.is_empty();
        (!text.is_empty()).then_some(text)
    }

    /// Whether the text ends within a line; told once.
    pub(super) fn take_question(&mut self) -> bool {
        self.in_line && !std::mem::replace(&mut self.told, true)
    }

    /// A line was sent: what comes begins at the margin.
    pub(super) fn answered(&mut self) {
        self.in_line = false;
    }

    pub(super) fn reply(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.reply)
    }

    /// Characters, without telnet's sequences and carriage returns before newlines.
    fn plain(&mut self, data: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.bytes);
        for byte in data {
            if self.telnet != Telnet::Text || *byte == IAC {
                self.sequence(*byte);
                continue;
            }
            if bytes.last() == Some(&b'\r') && matches!(byte, b'\n' | 0) {
                bytes.pop();
                bytes.push(b'\n');
            } else {
                bytes.push(*byte);
            }
        }
        let whole = match std::str::from_utf8(&bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ if bytes.last() == Some(&b'\r') => bytes.len() - 1,
            // After a broken character, too, the last one may be one that is still to come.
            Err(_) => bytes.len() - unfinished(&bytes),
            Ok(_) => bytes.len(),
        };
        self.bytes = bytes.split_off(whole);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn sequence(&mut self, byte: u8) {
        self.telnet = match (self.telnet, byte) {
            (Telnet::Text, _) => Telnet::Iac,
            (Telnet::Iac, DO | DONT | WILL | WONT) => Telnet::Option(byte),
            (Telnet::Iac, SB) => Telnet::Sub,
            // A doubled one is the byte itself, which is no text.
            (Telnet::Iac, _) | (Telnet::SubIac, SE) => Telnet::Text,
            (Telnet::Sub, IAC) => Telnet::SubIac,
            (Telnet::Sub | Telnet::SubIac, _) => Telnet::Sub,
            (Telnet::Option(asked), _) => {
                // No option is wanted.
                let answer = match asked {
                    DO => Some(WONT),
                    WILL => Some(DONT),
                    _ => None,
                };
                if let Some(answer) = answer.filter(|_| self.answered < ANSWERS) {
                    self.answered += 1;
                    self.reply.extend([IAC, answer, byte]);
                }
                Telnet::Text
            }
        };
    }
}

/// Bytes at the end that may be the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    (1..=3.min(bytes.len()))
        .find(|length| {
            let end = &bytes[bytes.len() - length..];
            matches!(std::str::from_utf8(end), Err(error) if error.error_len().is_none() && error.valid_up_to() == 0)
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(parts: &[&[u8]]) -> (String, Stream) {
        let mut stream = Stream::default();
        let text = parts.iter().map(|part| stream.feed(part)).collect();
        (text, stream)
    }

    #[test]
    fn prompts_are_no_text() {
        for parts in [&[&b"1\n>>> "[..]][..], &[b"1\n", b">>", b"> "], &[b"1\r", b"\n>>> "]] {
            let (text, mut stream) = fed(parts);
            assert_eq!((text.as_str(), stream.take_prompt()), ("1\n", Some(Asks::Code)));
            assert_eq!((stream.rest(), stream.take_question()), (None, false));
        }
        let (text, stream) = fed(&[b"1>>", b"> "]);
        assert_eq!((text.as_str(), stream.prompt()), ("1", Some(Asks::Code)));
        assert_eq!(fed(&[b"... "]).1.prompt(), Some(Asks::More));
        assert_eq!(fed(&[b"token: "]).1.prompt(), Some(Asks::Token));
    }

    #[test]
    fn what_only_looks_like_one_is_text() {
        let (text, mut stream) = fed(&[b">>> ", b"more\n..", b".done"]);
        assert_eq!((text.as_str(), stream.prompt()), (">>> more\n...done", None));
        assert!(stream.take_question() && !stream.take_question());
        let (text, mut stream) = fed(&[b"loading", b"... "]);
        assert_eq!((text.as_str(), stream.prompt(), stream.rest()), ("loading... ", None, None));
        let (_, mut stream) = fed(&[b">>"]);
        assert_eq!((stream.prompt(), stream.rest().as_deref()), (None, Some(">>")));
    }

    #[test]
    fn spare_prompts_are_no_text() {
        for parts in [
            &[&b"Interrupt\n>>> "[..], b">>> ", b"44\n>>> "][..],
            &[b"Interrupt\n>>> >>> 44\n>>> "],
        ] {
            let mut stream = Stream::default();
            stream.expect(2);
            let text: String = parts.iter().map(|part| stream.feed(part)).collect();
            assert_eq!(
                (text.as_str(), stream.take_prompt()),
                ("Interrupt\n44\n", Some(Asks::Code))
            );
        }
        // No more of them than were asked for, and none within a line.
        let mut stream = Stream::default();
        stream.expect(1);
        assert_eq!(stream.feed(b"a>>> b\n>>> c\n>>> d\n"), "a>>> b\nc\n>>> d\n");
    }

    #[test]
    fn telnet_is_answered_with_no() {
        let (text, mut stream) = fed(&[
            b"a\xff\xfb\x01b\xff",
            b"\xfd\x18\xff\xfa\x18\x01\xff",
            b"\xf0c\xff\xf9\xff\xff\n",
        ]);
        assert_eq!(text, "abc\n");
        assert_eq!(stream.reply(), [IAC, DONT, 1, IAC, WONT, 0x18]);
        for _ in 0..1000 {
            stream.feed(b"\xff\xfb\x01");
        }
        assert!(stream.reply().len() < 3 * 64);
    }

    #[test]
    fn characters_in_parts_and_broken_ones() {
        let (text, _) = fed(&[b"\xc3", b"\xa4\xe2\x82", b"\xac\n"]);
        assert_eq!(text, "ä€\n");
        let (text, stream) = fed(&[b"\x80x\xc3", b"\xa4\n", b"\xf0\x9f"]);
        assert_eq!((text.as_str(), stream.bytes.len()), ("\u{fffd}xä\n", 2));
    }

    #[test]
    fn nothing_is_kept_of_a_line_without_end() {
        let mut stream = Stream::default();
        for _ in 0..1000 {
            assert_eq!(stream.feed(&[b'x'; 4096]).len(), 4096);
            assert!(stream.held.capacity() <= 8192 && stream.bytes.capacity() <= 8192);
        }
    }
}

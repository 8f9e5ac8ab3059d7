//! Text that grows to a limit.
//!
//! What gives a value its form (brackets, names of types) is always written; content is cut where the room ends, and
//! the cut is marked.

/// How a cut looks.
pub(super) const MARK: &str = "...";

#[derive(Debug, Default)]
pub(super) struct Output {
    text: String,
    left: usize,
    cut: bool,
}

impl Output {
    pub(super) fn with_room(characters: usize) -> Self {
        Self { text: String::new(), left: characters, cut: false }
    }

    pub(super) fn room(&self) -> usize {
        self.left
    }

    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Marks that something is left out here.
    pub(super) fn leave_out(&mut self) {
        self.cut = true;
        if !self.text.ends_with(MARK) {
            self.text.push_str(MARK);
        }
    }

    /// The same for the rest of a row, unless its last item is marked.
    pub(super) fn leave_out_more(&mut self) {
        if !self.text.ends_with(MARK) {
            self.text.push_str(", ");
        }
        self.leave_out();
    }

    /// Leaves out what needs more room than there is, and all that follows.
    pub(super) fn fill(&mut self) {
        self.left = 0;
        self.leave_out();
    }

    /// Something was left out that is marked already.
    pub(super) fn is_cut(&mut self) {
        self.cut = true;
    }

    /// Writes a character of content; `false` if there is no more room.
    pub(super) fn character(&mut self, character: char) -> bool {
        let fits = self.left > 0;
        if fits {
            self.left -= 1;
            self.text.push(character);
        }
        fits
    }

    /// Writes all or nothing of a short piece of content, as an escape is.
    pub(super) fn whole(&mut self, piece: &str) -> bool {
        let length = piece.chars().count();
        let fits = length <= self.left;
        if fits {
            self.left -= length;
            self.text.push_str(piece);
        }
        fits
    }

    /// Writes form.
    pub(super) fn form(&mut self, piece: &str) {
        self.text.push_str(piece);
        self.left = self.left.saturating_sub(piece.len());
    }

    /// Writes content that may be long.
    pub(super) fn content(&mut self, piece: &str) {
        for character in piece.chars() {
            if !self.character(character) {
                return self.leave_out();
            }
        }
    }

    /// The text, and whether something of it was left out.
    pub(super) fn finish(&mut self) -> (String, bool) {
        (std::mem::take(&mut self.text), self.cut)
    }
}

//! Where two texts differ, line by line.
//!
//! A repr is mostly one long line; it is broken at the commas of its outermost bracket first, so that one wrong entry
//! of a dict of a hundred is one line.

use super::text::{Ink, Text};

/// A repr of one line is broken up if it is longer than this.
const LONG_LINE: usize = 60;
/// Equal lines that are shown around a difference.
const CONTEXT: usize = 2;
/// Cells of the comparison's table; beyond, the texts are shown one after the other.
const TABLE_LIMIT: usize = 4_000_000;
/// Lines that are shown of one difference.
const SHOWN_LIMIT: usize = 200;

fn is_long(text: &str) -> bool {
    !text.contains('\n') && text.chars().nth(LONG_LINE).is_some()
}

/// The lines of a text; a single line is broken at the commas of its outermost bracket if `broken` says so.
fn pieces(text: &str, broken: bool) -> Vec<String> {
    if !broken || text.contains('\n') {
        return text.lines().map(str::to_owned).collect();
    }
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    let mut skip_space = false;
    for character in text.chars() {
        if skip_space && character == ' ' {
            skip_space = false;
            piece.push(' ');
            continue;
        }
        skip_space = false;
        piece.push(character);
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 1 => {
                pieces.push(std::mem::take(&mut piece));
                skip_space = true;
            }
            (None, _) => {}
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    Same(&'a str),
    Removed(&'a str),
    Added(&'a str),
}

/// What turns `from` into `to`: `-` is only in `from`, `+` only in `to`. Every line ends with a newline.
pub(crate) fn between(from: &str, to: &str, indent: &str) -> Text {
    // A short text is broken up, too, where it stands against a long one.
    let broken = is_long(from) || is_long(to);
    let (from, to) = (pieces(from, broken), pieces(to, broken));
    let steps = steps(&from, &to);
    let changed = |step: &Step<'_>| !matches!(step, Step::Same(_));
    let near: Vec<bool> = (0..steps.len())
        .map(|index| {
            let first = index.saturating_sub(CONTEXT);
            let last = (index + CONTEXT + 1).min(steps.len());
            steps[first..last].iter().any(changed)
        })
        .collect();
    let mut text = Text::new();
    let mut shown = 0;
    let mut index = 0;
    while index < steps.len() {
        let far = near[index..].iter().take_while(|near| !**near).count();
        // A line that says that one is left out would be no shorter.
        if far > 1 {
            text.ink(Ink::Faint, format!("{indent}  … {far} equal lines\n"));
            index += far;
            continue;
        }
        if shown == SHOWN_LIMIT {
            let more = steps[index..].iter().filter(|step| changed(step)).count();
            text.line(format!("{indent}  … {more} more differences, not shown here"));
            break;
        }
        match steps[index] {
            Step::Same(line) => text.line(format!("{indent}  {line}")),
            Step::Removed(line) => text.ink(Ink::Removed, format!("{indent}- {line}\n")),
            Step::Added(line) => text.ink(Ink::Added, format!("{indent}+ {line}\n")),
        };
        shown += 1;
        index += 1;
    }
    text
}

fn steps<'a>(from: &'a [String], to: &'a [String]) -> Vec<Step<'a>> {
    let start = from.iter().zip(to).take_while(|(one, other)| one == other).count();
    let (from_rest, to_rest) = (&from[start..], &to[start..]);
    let end = from_rest
        .iter()
        .rev()
        .zip(to_rest.iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    let from_middle = &from_rest[..from_rest.len() - end];
    let to_middle = &to_rest[..to_rest.len() - end];

    let mut steps: Vec<Step<'a>> = from[..start].iter().map(|line| Step::Same(line)).collect();
    if from_middle.len().saturating_mul(to_middle.len()) > TABLE_LIMIT {
        steps.extend(from_middle.iter().map(|line| Step::Removed(line)));
        steps.extend(to_middle.iter().map(|line| Step::Added(line)));
    } else {
        steps.extend(shortest(from_middle, to_middle));
    }
    steps.extend(from_rest[from_rest.len() - end..].iter().map(|line| Step::Same(line)));
    steps
}

/// By the longest common subsequence.
fn shortest<'a>(from: &'a [String], to: &'a [String]) -> Vec<Step<'a>> {
    let columns = to.len() + 1;
    let mut common = vec![0_u32; (from.len() + 1) * columns];
    for row in (0..from.len()).rev() {
        for column in (0..to.len()).rev() {
            common[row * columns + column] = if from[row] == to[column] {
                common[(row + 1) * columns + column + 1] + 1
            } else {
                common[(row + 1) * columns + column].max(common[row * columns + column + 1])
            };
        }
    }
    let mut steps = Vec::with_capacity(from.len().max(to.len()));
    let (mut row, mut column) = (0, 0);
    while row < from.len() && column < to.len() {
        if from[row] == to[column] {
            steps.push(Step::Same(&from[row]));
            row += 1;
            column += 1;
        } else if common[(row + 1) * columns + column] >= common[row * columns + column + 1] {
            steps.push(Step::Removed(&from[row]));
            row += 1;
        } else {
            steps.push(Step::Added(&to[column]));
            column += 1;
        }
    }
    steps.extend(from[row..].iter().map(|line| Step::Removed(line)));
    steps.extend(to[column..].iter().map(|line| Step::Added(line)));
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &Text) -> String {
        text.pieces().iter().map(|(_, piece)| piece.as_str()).collect()
    }

    #[test]
    fn one_entry_of_a_long_dict() {
        let most = "{'auth.User': 'UserAdmin', 'polls.Poll': 'PollAdmin', 'sites.Site': 'SiteAdmin', 'z': [1, 2]}";
        let odd = "{'auth.User': 'UserAdmin', 'polls.Poll': 'ModelAdmin', 'sites.Site': 'SiteAdmin', 'z': [1, 2]}";
        assert_eq!(
            plain(&between(most, odd, "")),
            "  {'auth.User': 'UserAdmin',\n-  'polls.Poll': 'PollAdmin',\n+  'polls.Poll': 'ModelAdmin',\n   \
             'sites.Site': 'SiteAdmin',\n   'z': [1, 2]}\n"
        );
    }

    #[test]
    fn short_values_stand_against_each_other() {
        assert_eq!(plain(&between("True", "False", "  ")), "  - True\n  + False\n");
    }

    #[test]
    fn far_lines_are_counted() {
        let most: String = (0..100).map(|line| format!("{line}\n")).collect();
        let odd = most.replace("50\n", "");
        assert_eq!(
            plain(&between(&most, &odd, "")),
            "  … 48 equal lines\n  48\n  49\n- 50\n  51\n  52\n  … 47 equal lines\n"
        );
    }

    #[test]
    fn strings_keep_their_commas() {
        let text = format!("['a, b', \"it's, c\", '\\', d', {}]", "1".repeat(80));
        assert_eq!(pieces(&text, true)[..3], ["['a, b',", " \"it's, c\",", " '\\', d',"]);
    }

    #[test]
    fn huge_texts_are_bounded() {
        let most: String = (0..5000).map(|line| format!("a{line}\n")).collect();
        let odd: String = (0..5000).map(|line| format!("b{line}\n")).collect();
        let text = plain(&between(&most, &odd, ""));
        assert!(text.lines().count() <= SHOWN_LIMIT + 1);
        assert!(text.ends_with("more differences, not shown here\n"));
    }

    proptest! {
        #[test]
        fn pieces_lose_nothing(text in ".{0,200}") {
            if !text.contains('\n') && !text.contains('\r') {
                prop_assert_eq!(pieces(&text, true).concat(), text);
            }
        }

        #[test]
        fn steps_rebuild_both_sides(from in "[ab\n]{0,40}", to in "[ab\n]{0,40}") {
            let from: Vec<String> = from.lines().map(str::to_owned).collect();
            let to: Vec<String> = to.lines().map(str::to_owned).collect();
            let steps = steps(&from, &to);
            let side = |keep: fn(&Step<'_>) -> bool| -> Vec<String> {
                steps.iter().filter(|step| keep(step)).map(|step| match step {
                    Step::Same(line) | Step::Removed(line) | Step::Added(line) => (*line).to_owned(),
                }).collect()
            };
            prop_assert_eq!(side(|step| !matches!(step, Step::Added(_))), from.clone());
            prop_assert_eq!(side(|step| !matches!(step, Step::Removed(_))), to.clone());
        }
    }
}

//! Names that look like one that is not there.

/// Names that are told.
const AT_MOST: usize = 5;
/// Where nothing looks like it, so many are told of what is there.
const OTHERS_AT_MOST: usize = 8;
const LONGEST: usize = 60;

/// The nearest names, or else the first ones that are there.
pub(crate) fn names(wanted: &str, there: &[String]) -> Vec<String> {
    let mut scored: Vec<(usize, &String)> = Vec::new();
    for name in there {
        if let Some(distance) = distance(wanted, name)
            && !scored.iter().any(|(_, known)| *known == name)
        {
            scored.push((distance, name));
        }
    }
    scored.sort();
    if !scored.is_empty() {
        return scored.into_iter().take(AT_MOST).map(|(_, name)| name.clone()).collect();
    }
    let plain = there.iter().filter(|name| !name.starts_with('_') && name.len() <= LONGEST);
    let mut others: Vec<String> = Vec::new();
    for name in plain {
        if others.len() == OTHERS_AT_MOST {
            break;
        }
        if !others.contains(name) {
            others.push(name.clone());
        }
    }
    others
}

/// How far apart two names are; `None`: they are not alike.
fn distance(wanted: &str, name: &str) -> Option<usize> {
    if wanted.is_empty() || wanted.len() > LONGEST || name.len() > LONGEST {
        return None;
    }
    let (one, other) = (wanted.to_lowercase(), name.to_lowercase());
    let plain = |text: &str| text.replace(['_', '-', '.'], "");
    if one == other || plain(&one) == plain(&other) {
        return Some(0);
    }
    let most = 1 + one.chars().count() / 4;
    let edits = edits(&one, &other);
    if edits <= most {
        return Some(edits);
    }
    let (short, long) = if one.len() < other.len() { (&one, &other) } else { (&other, &one) };
    (short.chars().count() >= 3 && long.contains(short.as_str())).then_some(most + 1)
}

/// Characters to put in, take out, change or swap with the next (optimal string alignment).
fn edits(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let width = other.len() + 1;
    let mut table = vec![0; (one.len() + 1) * width];
    for row in 0..=one.len() {
        for column in 0..width {
            table[row * width + column] = if row == 0 || column == 0 {
                row + column
            } else {
                let above = (row - 1) * width + column;
                let same = usize::from(one[row - 1] != other[column - 1]);
                let mut least = (table[above] + 1)
                    .min(table[row * width + column - 1] + 1)
                    .min(table[above - 1] + same);
                if row > 1
                    && column > 1
                    && one[row - 1] == other[column - 2]
                    && one[row - 2] == other[column - 1]
                {
                    least = least.min(table[(row - 2) * width + column - 2] + 1);
                }
                least
            };
        }
    }
    table.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first() {
        let there: Vec<String> =
            ["registry", "_registry", "name", "regular", "history"].map(str::to_owned).to_vec();
        assert_eq!(names("registy", &there), ["registry", "_registry"]);
        assert_eq!(names("Name", &there), ["name"]);
        assert_eq!(names("reg", &there)[0], "_registry");
        assert_eq!(names("zzzzzz", &there), ["registry", "name", "regular", "history"]);
        assert_eq!(edits("abcd", "acbd"), 1);
        assert_eq!(edits("", "abc"), 3);
    }
}

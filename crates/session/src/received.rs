//! What the agent sent, as models.

use spyhole_agent::{marshal, message};

use crate::failure;
use crate::model::{ErrorKind, EvalError, Raised, Relation, SyntaxPlace, TraceFrame, Value};

/// A value that the code gave.
pub(crate) fn value(value: message::ValueEvent) -> Value {
    Value {
        type_name: value.type_name,
        repr: value.repr,
        is_none: value.is_none,
        truncated: value.truncated,
        key: value.key,
        json: value.value.as_ref().map(json),
    }
}

/// Plain data as JSON has it; what JSON has no form for is shown as text.
fn json(value: &marshal::Value) -> serde_json::Value {
    use marshal::Value as M;
    match value {
        M::None => serde_json::Value::Null,
        M::Bool(b) => (*b).into(),
        M::Int(i) => (*i).into(),
        M::BigInt(i) => {
            let text = i.to_text();
            text.parse::<serde_json::Number>()
                .map_or_else(|_| text.into(), serde_json::Value::Number)
        }
        M::Float(f) => serde_json::Number::from_f64(*f)
            .map_or_else(|| f.to_string().into(), serde_json::Value::Number),
        M::Str(text) => text.escaped().into(),
        M::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        M::List(items) | M::Tuple(items) => items.iter().map(json).collect(),
        M::Dict(items) => items
            .iter()
            .map(|(key, value)| {
                let key = match key {
                    M::Str(text) => text.escaped().into_owned(),
                    other => format!("{other:?}"),
                };
                (key, json(value))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// An exception that the code raised.
pub(crate) fn raised(raised: &message::Raised, code: &str, name: &str) -> EvalError {
    let kind = match raised.kind {
        message::Kind::Syntax => ErrorKind::Syntax,
        message::Kind::Interrupted => ErrorKind::Interrupted,
        message::Kind::Raised => ErrorKind::Raised,
    };
    let traceback: Vec<Raised> = raised.chain.iter().map(|l| link(l, code, name)).collect();
    let last = traceback.last();
    let mut failure = failure::error(
        kind,
        last.map_or("BaseException", |l| l.type_name.as_str()),
        last.map(|l| l.message.clone()).unwrap_or_default(),
    );
    failure.traceback = traceback;
    failure
}

fn link(link: &message::Link, code: &str, name: &str) -> Raised {
    Raised {
        type_name: link.type_name.clone(),
        message: link.message.clone(),
        relation: link.relation.map(|relation| match relation {
            message::Relation::Cause => Relation::Cause,
            message::Relation::Context => Relation::Context,
        }),
        frames: link.frames.iter().map(|f| frame(f, code, name)).collect(),
        syntax: link.syntax.as_ref().map(|s| SyntaxPlace {
            file: s.file.clone(),
            line: s.line,
            column: s.column,
            text: s.text.clone(),
        }),
        notes: link.notes.clone(),
    }
}

/// The program's own exceptions.
pub(crate) fn links(links: &[message::Link]) -> Vec<Raised> {
    links.iter().map(|one| link(one, "", "\0")).collect()
}

/// A frame of the program's own code.
pub(crate) fn place(frame: &message::Frame) -> TraceFrame {
    self::frame(frame, "", "\0")
}

fn frame(frame: &message::Frame, code: &str, name: &str) -> TraceFrame {
    let text = (frame.file == name)
        .then(|| code.lines().nth((frame.line as usize).checked_sub(1)?).map(str::to_owned))
        .flatten();
    TraceFrame {
        file: frame.file.clone(),
        line: frame.line,
        function: frame.function.clone(),
        columns: frame.columns.map(|(from, to)| (from, to.unwrap_or(u32::MAX))),
        text,
    }
}

/// The expression that a job is in: of its own code the part that runs, of other code the place.
pub(crate) fn expression(frames: &[message::Frame], code: &str) -> Option<String> {
    let innermost = frames.last()?;
    if !innermost.file.starts_with("<spyhole-") {
        return Some(format!("{} ({}:{})", innermost.function, innermost.file, innermost.line));
    }
    let line = code.lines().nth((innermost.line as usize).checked_sub(1)?)?;
    let part = innermost.columns.and_then(|(from, to)| {
        let to = to.map_or(line.len(), |to| to as usize).min(line.len());
        line.get(from as usize..to).map(str::to_owned)
    });
    Some(part.filter(|p| !p.trim().is_empty()).unwrap_or_else(|| line.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(file: &str, line: u32, columns: Option<(u32, Option<u32>)>) -> message::Frame {
        message::Frame { file: file.into(), line, function: "f".into(), columns }
    }

    #[test]
    fn columns_count_bytes() {
        let code = "x = 1\n'\u{20ac}'; time.sleep(9); y\n";
        let at = |columns| expression(&[frame("<spyhole-1>", 2, columns)], code);
        assert_eq!(at(Some((7, Some(20)))).as_deref(), Some("time.sleep(9)"));
        assert_eq!(at(Some((7, None))).as_deref(), Some("time.sleep(9); y"));
        assert_eq!(at(None).as_deref(), Some("'\u{20ac}'; time.sleep(9); y"));
        // Within a character: the whole line.
        assert_eq!(at(Some((2, Some(4)))).as_deref(), at(None).as_deref());
        let other = expression(&[frame("/srv/shop.py", 7, None)], code);
        assert_eq!(other.as_deref(), Some("f (/srv/shop.py:7)"));
        assert_eq!(expression(&[], code), None);
    }
}

//! The whole way from mappings to names, lines and columns, over a recorded process of each version.
//!
//! It knows `tests/targets/captured.py`, which was recorded, and reads the marked lines there. A change of it asks for
//! `cargo xtask capture --all`.

use std::fs;
use std::path::{Path, PathBuf};

use spyhole_cpython::code::Code;
use spyhole_cpython::frames::{self, End};
use spyhole_cpython::lines::Location;
use spyhole_cpython::locals::Variables;
use spyhole_cpython::values::{Limits, Values};
use spyhole_cpython::{Opened, Reader, layout, locate, threads};
use spyhole_proc::capture::Capture;
use spyhole_proc::memory::{Cached, ReadMemory};
use spyhole_proc::tasks::{Activity, Tasks};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn captures() -> Vec<(u8, Capture)> {
    let all = layout::versions().map(|version| {
        let name = format!("tests/captures/cpython-3.{}.capture", version.minor);
        let bytes = fs::read(here().join(name)).expect("every version has a capture");
        (version.minor, Capture::parse(&bytes).expect("it is a capture"))
    });
    all.collect()
}

/// The target's lines, and where its marks are.
struct Source {
    text: String,
}

impl Source {
    fn read() -> Self {
        let path: PathBuf = here().join("../../tests/targets/captured.py");
        Self { text: fs::read_to_string(path).expect("the target is there") }
    }

    fn line(&self, mark: &str) -> (u32, &str) {
        let mark = format!("# at {mark}");
        let found = self.text.lines().zip(1..).find(|(line, _)| line.ends_with(&mark));
        let (line, number) = found.unwrap_or_else(|| panic!("no line has `{mark}`"));
        (number, line)
    }

    /// Where an expression of a marked line stands, in a version that tells columns.
    fn place(&self, mark: &str, expression: &str, columns: bool) -> Location {
        let (number, line) = self.line(mark);
        let at = line.find(expression).expect("the line has it") as u32;
        let end = at + expression.len() as u32;
        let told = |value: u32| columns.then_some(value);
        Location {
            line: Some(number),
            end_line: told(number),
            column: told(at),
            end_column: told(end),
        }
    }
}

/// Of a thread: its name, whether it is a daemon, function, module, file and place of each frame, and the variables.
type Seen = (
    Option<String>,
    Option<bool>,
    Vec<(String, String, String, Location)>,
    Vec<Vec<(String, String)>>,
);

fn look(capture: &Capture) -> Vec<Seen> {
    let memory = Cached::new(capture);
    let runtime = locate(&memory, &capture.maps(), capture).expect("it is Python");
    let version = runtime.version.expect("it tells its version");
    let opened = Opened::of(&memory, runtime, version).expect("it can be read");
    assert_eq!(opened.mismatches, [], "{version}");
    let types = opened.types(&memory);
    let layout = &opened.layout;
    let reader = Reader { memory: &memory, layout, types: &types };
    let interpreters = opened.roots.interpreters(&memory, layout).expect("they are listed");
    assert_eq!(interpreters.len(), 1, "{version}");
    let main = &interpreters[0];
    assert_eq!(opened.roots.holder(&memory, layout, main), Ok(None), "{version}: all of them wait");
    let tids = capture.by_inner_id().expect("they were recorded");
    let descriptor = opened.calibrate(&memory, tids.keys().copied().collect());
    let names = reader.thread_names(main);
    let (states, whole) = threads::states(&memory, layout, main, 100);
    assert!(whole, "{version}");
    let seen = states.iter().map(|state| {
        let native = state
            .native_id
            .or_else(|| descriptor?.native_id(&memory, state.ident))
            .expect("its number is known");
        let activity = capture.activity(tids[&native]);
        assert!(matches!(activity, Some(Activity::Blocked { .. })), "{version}: {activity:?}");
        let stack = frames::stack(&memory, layout, state.address, 100);
        assert_eq!(stack.end, End::Whole, "{version}");
        let frames = stack.frames.iter().map(|frame| {
            let code = Code::read(&reader, frame.code).expect("it runs code");
            let module = reader.module_name(frame.globals).expect("it is in a module");
            let place = code.location(&reader, frame);
            (code.function.to_string(), module, code.file.to_string(), place)
        });
        let mut values = Values::new(reader, reader, Limits { characters: 400, hides: |_| false });
        let locals = stack.frames.iter().map(|frame| {
            let variables = Variables::read(&reader, frame.code).expect("it runs code");
            let found = variables.of_frame(&reader, frame.address).found.into_iter();
            found
                .map(|one| (one.name.to_string(), values.render(one.value).text.to_string()))
                .collect()
        });
        let locals = locals.collect();
        let name = &names[&state.ident];
        (name.name.clone(), name.daemon, frames.collect(), locals)
    });
    seen.collect()
}

#[test]
fn threads_functions_lines_and_columns() {
    let source = Source::read();
    for (minor, capture) in captures() {
        let (qualified, columns) = (minor >= 11, minor >= 11);
        let name = |text: &str| {
            if qualified { text.to_owned() } else { text.rsplit('.').next().unwrap().to_owned() }
        };
        let own = |function: &str, place| {
            (name(function), "__main__".to_owned(), "captured.py".to_owned(), place)
        };
        // A call that spans lines: until 3.7 the compiler gave it the line of its last argument.
        let call = match minor {
            ..=7 => source.place("argument", "3", false),
            8..=10 => source.place("call", "inner(", false),
            _ => Location {
                end_line: Some(source.line("end").0),
                end_column: Some(source.line("end").1.find(')').unwrap() as u32 + 1),
                ..source.place("call", "inner(", true)
            },
        };
        let truths = [
            (
                "läser",
                false,
                vec![
                    own(
                        "Shelf.größe.<locals>.inner",
                        source.place("inner", "gate.acquire()", columns),
                    ),
                    own("Shelf.größe", call),
                ],
            ),
            (
                "second",
                true,
                vec![own("pause", source.place("pause", "read(reading, item)", columns))],
            ),
            (
                "MainThread",
                false,
                vec![
                    own("wait", source.place("wait", "signal.pause()", columns)),
                    own(
                        "<module>",
                        source.place("main", "wait(start(Shelf(\"b\\u00fccher\")))", columns),
                    ),
                ],
            ),
        ];
        let seen = look(&capture);
        assert_eq!(seen.len(), truths.len(), "3.{minor}");
        for (known, daemon, frames) in truths {
            let of_name = |seen: &&Seen| seen.0.as_deref() == Some(known);
            let thread = seen.iter().find(of_name).expect("the thread is there");
            assert_eq!(thread.1, Some(daemon), "3.{minor}: {known}");
            let (told, rest) = thread.2.split_at(frames.len());
            assert_eq!(told, frames, "3.{minor}: {known}");
            let rest: Vec<(&str, &str)> =
                rest.iter().map(|frame| (frame.0.as_str(), frame.1.as_str())).collect();
            let thread = ["Thread.run", "Thread._bootstrap_inner", "Thread._bootstrap"].map(name);
            match known {
                "MainThread" => assert_eq!(rest, [("<module>", "__main__")], "3.{minor}"),
                _ => assert_eq!(
                    rest,
                    [0, 1, 2].map(|index| (thread[index].as_str(), "threading")),
                    "3.{minor}"
                ),
            }
        }
    }
}

#[test]
fn values_of_variables() {
    for (minor, capture) in captures() {
        let seen = look(&capture);
        let thread = seen.iter().find(|thread| thread.0.as_deref() == Some("läser"));
        let locals = &thread.expect("the thread is there").3;
        let assert_told = |frame: usize, known: &[(&str, &str)]| {
            for (name, value) in known {
                let told = locals[frame].iter().find(|(told, _)| told == name);
                let told = told.unwrap_or_else(|| panic!("3.{minor}: no `{name}`: {locals:?}"));
                assert_eq!(told.1, *value, "3.{minor}: {name}");
            }
        };
        assert_told(0, &[("step", "3"), ("total", "7"), ("width", "4")]);
        assert_eq!(locals[0].len(), 3, "3.{minor}: {locals:?}");
        assert_told(
            1,
            &[
                ("width", "4"),
                ("rest", "('x',)"),
                ("text", "'naïve ☃ 𝄞'"),
                ("number", "-1267650600228229401496703205376"),
                ("table", "{'key': ['a', b'\\x00z'], 7: (True, 1.5)}"),
            ],
        );
        let shelf = &locals[1].iter().find(|(name, _)| name == "self").expect("a method has it").1;
        assert!(shelf.contains("Shelf"), "3.{minor}: {shelf}");
        assert!(shelf.contains("'bücher'"), "3.{minor}: {shelf}");
        assert!(shelf.contains("[1, 2.5, None]"), "3.{minor}: {shelf}");
    }
}

/// What was never looked at is not there: a test cannot pass by reading what the recorded process had by chance.
#[test]
fn a_capture_holds_little() {
    for (minor, capture) in captures() {
        let pages = capture.pages();
        assert!((50..1000).contains(&pages.len()), "3.{minor}: {} pages", pages.len());
        let maps = capture.maps();
        let absent = maps
            .iter()
            .filter(|mapping| mapping.readable)
            .find(|mapping| !pages.contains(&mapping.start))
            .expect("most was not touched");
        assert!(capture.bytes(absent.start, 1).is_err(), "3.{minor}");
    }
}

//! `spyhole requests` on real servers, each with requests that it is serving.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};
use spyhole_testkit::target::Signal;
use spyhole_testkit::{Interpreter, Start, Target, TargetError, census};

use crate::program::{Ran, run};

/// A server, if its packages are there.
fn server(python: &Interpreter, kind: &str) -> Option<Target> {
    let test = format!("requests::{kind}");
    let packaged = match kind {
        "wsgiref" => Some(python.clone()),
        _ => python.with_packages(),
    };
    let Some(python) = packaged else {
        census::skipped(&test, &format!("no environment with packages for {}", python.minor()));
        return None;
    };
    match Start::new(&python, "web").args([kind]).start() {
        Ok(target) => Some(target),
        Err(TargetError::Skipped { reason, .. }) => {
            census::skipped(&test, &reason);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Sends a request, whose answer comes when the server ends.
fn ask(target: &Target, path: &str) -> TcpStream {
    let port = target.ready()["port"].as_u64().expect("a port");
    let port = u16::try_from(port).expect("a port");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: shop.example\r\nAuthorization: hunter2\r\nX-Request-Start: t={}\r\n\r\n",
        std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs() - 100
    );
    stream.write_all(head.as_bytes()).expect("it is there");
    stream
}

fn look(target: &Target, words: &[&str]) -> Ran {
    let tree = format!("tree:{}", target.pid());
    let ran = run([&["requests", &tree], words].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// Waits until the application says that it serves one more.
fn serving(target: &mut Target) -> String {
    loop {
        let line = target.receive().expect("it says so");
        if let Some(path) = line.strip_prefix("serving ") {
            return path.to_owned();
        }
    }
}

/// A server, the requests that it serves as they were told, and those who wait for their answers: without them, Django
/// gives up a request.
type Told = (Target, Vec<Value>, Vec<TcpStream>);

/// So many requests at a time, each told with whoever serves it; returns their rows.
fn told(python: &Interpreter, kind: &str, count: usize) -> Option<Told> {
    let mut target = server(python, kind)?;
    let mut streams = Vec::new();
    let mut paths = BTreeSet::new();
    for number in 0..count {
        let path = format!("/caf%C3%A9/{number}");
        streams.push(ask(&target, &format!("{path}?page={number}&token=hunter2")));
        paths.insert(serving(&mut target));
    }
    assert_eq!(paths.len(), count);
    let all = look(&target, &["--json", "--environ"]);
    assert!(!all.data.contains("hunter2"), "{}", all.data);
    assert!(look(&target, &["--json", "--environ", "--reveal"]).data.contains("hunter2"));
    let rows = all.json().as_array().cloned().expect("a list");
    assert_eq!(rows.len(), count, "{kind}: {rows:#?}");
    let ports: BTreeSet<String> =
        streams.iter().map(|stream| stream.local_addr().expect("an address").to_string()).collect();
    let clients: BTreeSet<String> =
        rows.iter().map(|row| row["client"].as_str().unwrap_or_default().to_owned()).collect();
    // wsgiref does not say from which port.
    assert!(clients == ports || clients.iter().all(|one| one == "127.0.0.1"), "{clients:?}");
    let seen: BTreeSet<&str> = rows.iter().filter_map(|row| row["path"].as_str()).collect();
    let expected: Vec<String> = (0..count).map(|number| format!("/café/{number}")).collect();
    assert_eq!(seen, expected.iter().map(String::as_str).collect::<BTreeSet<_>>());
    for row in &rows {
        assert_eq!((&row["method"], &row["host"]), (&json!("GET"), &json!("shop.example")));
        assert!(row["query"].as_str().is_some_and(|query| query.ends_with("&token=<redacted>")));
        assert!(row["age_s"].as_f64().is_some_and(|age| (99.0..1000.0).contains(&age)), "{row:#}");
        let frames = row["frames"].as_array().expect("frames");
        let is_ours = |frame: &Value| {
            let name = frame["function"].as_str().and_then(|name| name.rsplit('.').next());
            name.is_some_and(|name| ["application", "asgi"].contains(&name))
        };
        // A plain function under ASGI runs in a thread, for which the task waits that is told.
        assert!(frames.iter().any(is_ours) || kind.ends_with("-thread"), "{row:#}");
        assert_eq!(row["torn"], false, "{row:#}");
    }
    // As text, and not one more.
    let text = look(&target, &[]);
    assert_eq!(text.data.matches(": GET /café/").count(), count, "{}", text.data);
    assert!(!text.data.contains("hunter2"), "{}", text.data);
    Some((target, rows, streams))
}

#[track_caller]
fn protocol(rows: &[Value], protocol: &str) {
    for row in rows {
        assert_eq!(row["protocol"], protocol, "{row:#}");
        let environ = row["environ"].as_object().expect("it was asked for");
        assert!(environ.contains_key(if protocol == "wsgi" { "wsgi.version" } else { "asgi" }));
    }
}

fn threads_serve(python: &Interpreter, kind: &str, count: usize) {
    let Some((_target, rows, _streams)) = told(python, kind, count) else { return };
    protocol(&rows, "wsgi");
    let threads: BTreeSet<i64> = rows.iter().filter_map(|row| row["thread"].as_i64()).collect();
    assert_eq!(threads.len(), count, "{rows:#?}");
}

fn greenlets_serve(python: &Interpreter, kind: &str) {
    let Some((_target, rows, _streams)) = told(python, kind, 3) else { return };
    protocol(&rows, "wsgi");
    assert!(rows.iter().all(|row| row["greenlet"].is_string()), "{rows:#?}");
}

fn tasks_serve(python: &Interpreter, kind: &str, count: usize) {
    let Some((target, rows, _streams)) = told(python, kind, count) else { return };
    protocol(&rows, "asgi");
    assert!(rows.iter().all(|row| row["task"].is_string()), "{rows:#?}");
    // Nothing runs in it: stopped by a signal, it tells the same.
    target.signal(Signal::STOP).expect("it stops");
    let stopped = look(&target, &["--json", "--environ"]).json();
    target.signal(Signal::CONT).expect("it goes on");
    assert_eq!(stopped.as_array().map(Vec::len), Some(count), "{stopped:#}");
}

fn gunicorn_sync(python: &Interpreter) {
    threads_serve(python, "sync", 1);
}

fn gunicorn_gthread(python: &Interpreter) {
    threads_serve(python, "gthread", 3);
}

fn gunicorn_gevent(python: &Interpreter) {
    greenlets_serve(python, "gevent");
}

fn gunicorn_eventlet(python: &Interpreter) {
    greenlets_serve(python, "eventlet");
}

fn werkzeug(python: &Interpreter) {
    threads_serve(python, "werkzeug", 3);
}

fn uvicorn(python: &Interpreter) {
    tasks_serve(python, "uvicorn", 3);
}

fn hypercorn(python: &Interpreter) {
    tasks_serve(python, "hypercorn", 3);
}

fn flask(python: &Interpreter) {
    threads_serve(python, "flask", 3);
}

fn starlette(python: &Interpreter) {
    tasks_serve(python, "starlette", 3);
}

fn fastapi(python: &Interpreter) {
    tasks_serve(python, "fastapi", 3);
    tasks_serve(python, "fastapi-thread", 3);
}

fn django(python: &Interpreter) {
    tasks_serve(python, "django", 3);
    // All plain views run in one thread.
    tasks_serve(python, "django-thread", 1);
}

fn nobody_is_served(python: &Interpreter) {
    let Some(target) = server(python, "wsgiref") else { return };
    assert_eq!(look(&target, &[]).data, "No active transactions.\n");
    assert_eq!(look(&target, &["--json"]).json(), json!([]));
    run(["requests", "999999999"]).failed(5, "no process");
}

fn wsgiref(python: &Interpreter) {
    threads_serve(python, "wsgiref", 1);
}

macro_rules! with_packages {
    ($($body:ident)*) => { $(each! { on, $body, py36 = "3.6", py313 = "3.13" })* };
}

with_packages! {
    gunicorn_sync gunicorn_gthread gunicorn_gevent gunicorn_eventlet werkzeug uvicorn hypercorn
}
macro_rules! with_frameworks {
    ($($body:ident)*) => { $(each! { on, $body, py313 = "3.13" })* };
}

with_frameworks! { flask starlette fastapi django }
on_three! { wsgiref }
on_one! { nobody_is_served }

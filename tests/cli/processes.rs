//! `ps` on sample workers.

use crate::program::{run, shop, spyhole, unique};

#[test]
fn lists_what_matches() {
    let name = unique("shop-ps");
    let workers = shop(&name);
    let ran = run(&["ps", &name]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.data.lines().count(), 1 + workers.len());
    for worker in &workers {
        assert!(
            ran.data.lines().any(|line| line.starts_with(&format!("{} ", worker.pid()))),
            "{}",
            ran.data
        );
    }
}

#[test]
fn keys_of_the_contract() {
    let name = unique("shop-json");
    let workers = shop(&name);
    let ran = run(&["ps", &name, "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&ran.data).expect("it is JSON");
    let rows = rows.as_array().expect("a list");
    assert_eq!(rows.len(), workers.len());
    for row in rows {
        let keys: Vec<&str> =
            row.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "pid",
                "ppid",
                "namespace_pid",
                "user",
                "python",
                "implementation",
                "executable",
                "cmdline",
                "age_s",
                "threads",
                "interpreters",
                "kind",
                "loaded",
                "groups",
                "look",
                "ask",
            ]
        );
        assert_eq!(row["implementation"], "cpython");
        assert_eq!(row["ppid"], std::process::id());
        assert!(row["ask"]["ok"].as_bool().expect("a bool") || row["ask"]["reason"].is_string());
    }
}

#[test]
fn fits_into_twenty_columns() {
    let name = unique("shop-narrow");
    let workers = shop(&name);
    for columns in ["20", "40", "80"] {
        let output = spyhole()
            .env("COLUMNS", columns)
            .args(["ps", &name])
            .output()
            .expect("the program starts");
        let data = String::from_utf8(output.stdout).expect("text");
        let limit: usize = columns.parse().expect("a number");
        assert!(data.lines().all(|line| line.chars().count() <= limit), "{columns}: {data}");
        assert!(
            workers.iter().all(|worker| data.contains(&worker.pid().to_string())),
            "{columns}: {data}"
        );
    }
}

#[test]
fn nothing_found() {
    let ran = run(&["ps", "no-such-process-anywhere"]);
    assert_eq!((ran.code, ran.data.as_str()), (1, ""));
    let ran = run(&["ps", "no-such-process-anywhere", "--json"]);
    assert_eq!((ran.code, ran.data.as_str()), (1, "[]\n"));
}

//! Man pages and completions come from the same definitions as the parser.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::run;

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("spyhole-{name}-{}", std::process::id())))
    }

    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["generate"];
        all.extend(words);
        all.push(self.0.to_str().expect("its name is text"));
        all
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn man_pages() {
    let folder = Folder::new("man");
    let ran = run(&folder.words(&["man"]));
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""));
    assert!(read(&folder.0, "spyhole.1").contains("spyhole\\-eval"));
    for command in
        ["ps", "stack", "get", "requests", "report", "eval", "console", "python", "close", "demo"]
    {
        let page = read(&folder.0, &format!("spyhole-{command}.1"));
        assert!(page.contains("Level: "), "{command}");
    }
}

#[test]
fn completions() {
    for (shell, file) in [("bash", "spyhole.bash"), ("zsh", "_spyhole"), ("fish", "spyhole.fish")] {
        let folder = Folder::new(shell);
        let ran = run(&folder.words(&["completions", shell]));
        assert_eq!((ran.code, ran.talk.as_str()), (0, ""));
        let script = read(&folder.0, file);
        assert!(script.contains("console") && script.contains("timeout"), "{shell}");
    }
}

#[test]
fn a_folder_that_cannot_be_made() {
    let ran = run(&["generate", "man", "/proc/nowhere"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.talk.starts_with("error: cannot write into `/proc/nowhere`\n  because: "),
        "{}",
        ran.talk
    );
}

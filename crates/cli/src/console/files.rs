//! Files on this side: code that is loaded, edited and saved.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Kind};

/// Bytes of code that are read.
const LONGEST: u64 = 4 << 20;

/// The code of a file.
pub(super) fn read(file: &str) -> Result<String, Failure> {
    let failed = |error: &std::io::Error| {
        Failure::new(Kind::Failed, format!("cannot read `{file}`")).caused_by(error)
    };
    let mut text = String::new();
    let source = File::open(file).map_err(|error| failed(&error))?;
    source.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| failed(&error))?;
    if text.len() as u64 > LONGEST {
        return Err(Failure::new(Kind::Failed, format!("`{file}` is longer than 4 MiB")));
    }
    Ok(text)
}

/// Writes code into a file that was not there.
pub(super) fn save(file: &str, code: &[String]) -> Result<(), Failure> {
    let text: String = code.iter().map(|code| format!("{code}\n")).collect();
    written(Path::new(file), &text).map_err(|error| {
        Failure::new(Kind::Failed, format!("cannot write `{file}`")).caused_by(&error)
    })
}

fn written(file: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())
}

/// What the user's editor makes of a file, or of `code` in one of its own.
pub(super) fn edit(file: Option<&str>, code: &str) -> Result<String, Failure> {
    if let Some(file) = file {
        run_editor(Path::new(file))?;
        return read(file);
    }
    let own = Temporary::with(code).map_err(|error| {
        Failure::new(Kind::Failed, "cannot make a file to edit").caused_by(&error)
    })?;
    run_editor(&own.0)?;
    read(&own.0.to_string_lossy())
}

fn run_editor(file: &Path) -> Result<(), Failure> {
    let named = |name| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let failed = || Failure::new(Kind::Failed, format!("the editor `{editor}` failed"));
    // It may be a command with arguments, as git and crontab take it.
    let status =
        Command::new("sh").args(["-c", &format!("{editor} \"$1\""), "sh"]).arg(file).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(failed().hint("export EDITOR=vi")),
        Err(error) => Err(failed().caused_by(&error)),
    }
}

/// A file for its owner alone, which goes with it.
struct Temporary(PathBuf);

impl Temporary {
    fn with(text: &str) -> std::io::Result<Self> {
        let name = format!("spyhole-{}-edit.py", std::process::id());
        let path = std::env::temp_dir().join(name);
        written(&path, text)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Somebody may have taken it away already.
        let _ = std::fs::remove_file(&self.0);
    }
}

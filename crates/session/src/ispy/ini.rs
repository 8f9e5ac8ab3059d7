//! An ini file of the ispy shell.
//!
//! The package has a reader of its own, `spyhole/_ini.py`; both read the files below `golden/ini` of the agent's crate
//! alike.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use thiserror::Error;

use crate::socket::Address;

/// Bytes of a file.
const LONGEST: u64 = 1 << 20;
const KNOWN: [(&str, &[&str]); 3] = [
    ("ispyd", &["listen", "plugins", "token"]),
    ("python:console", &["enabled"]),
    ("debugger", &["enabled"]),
];
const TRUE: [&str; 4] = ["1", "on", "yes", "true"];
const FALSE: [&str; 5] = ["0", "off", "no", "false", ""];
pub(super) const PID: &str = "%(pid)s";

/// Why a file can not be used.
#[derive(Debug, Error)]
pub enum IniError {
    #[error("cannot be read")]
    Unreadable(#[from] io::Error),
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    #[error("it has no section [ispyd]")]
    NoSection,
    #[error("its section [ispyd] has no `listen`")]
    NoListen,
    #[error("line {line}: {what}")]
    Line { line: usize, what: Fault },
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Unclosed,
    BeforeSections,
    NoSetting,
    Percent,
    NoPath,
    NoAddress,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unclosed => "`]` is missing",
            Self::BeforeSections => "it stands before any section",
            Self::NoSetting => "it is no `key = value`",
            Self::Percent => "`%(pid)s` is all that can stand after a `%`",
            Self::NoPath => "`listen` is no path",
            Self::NoAddress => "`listen` is an absolute path or HOST:PORT",
        })
    }
}

/// Where a process listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A path that may have `%(pid)s` in it, and `%%` for a `%`.
    Unix(String),
    Tcp {
        host: String,
        port: u16,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub listen: Listen,
    pub token: Option<String>,
    pub plugins: Vec<String>,
    pub console: bool,
    pub debugger: bool,
    /// A plugin's section.
    pub own: BTreeMap<String, BTreeMap<String, String>>,
    pub warnings: Vec<String>,
}

impl Settings {
    pub fn read(file: &Path) -> Result<Self, IniError> {
        let mut content = Vec::new();
        std::fs::File::open(file)?.take(LONGEST + 1).read_to_end(&mut content)?;
        if content.len() as u64 > LONGEST {
            return Err(IniError::TooLong);
        }
        Self::parse(&content)
    }

    pub fn parse(content: &[u8]) -> Result<Self, IniError> {
        let text = String::from_utf8_lossy(content);
        let sections = sections(text.trim_start_matches('\u{feff}'))?;
        let own = sections.get("ispyd").ok_or(IniError::NoSection)?;
        let setting = |key: &str| own.keys.get(key).filter(|(_, value)| !value.is_empty());
        let (line, value) = setting("listen").ok_or(IniError::NoListen)?;
        let mut warnings = Vec::new();
        let plugins = setting("plugins").map(|(_, value)| value.replace(',', " "));
        let mut settings = Self {
            listen: listen(value).map_err(|what| IniError::Line { line: *line, what })?,
            token: setting("token").map(|(_, value)| value.clone()),
            plugins: plugins
                .iter()
                .flat_map(|all| all.split_whitespace().map(str::to_owned))
                .collect(),
            console: enabled(&sections, "python:console", &mut warnings),
            debugger: enabled(&sections, "debugger", &mut warnings),
            own: BTreeMap::new(),
            warnings: Vec::new(),
        };
        let names: Vec<&str> = settings.plugins.iter().map(|entry| name_of(entry)).collect();
        for (name, section) in &sections {
            if let Some((_, known)) = KNOWN.iter().find(|(known, _)| known == name) {
                for (key, (line, _)) in &section.keys {
                    if !known.contains(&key.as_str()) {
                        warnings.push((*line, format!("unknown key `{key}` in [{name}]")));
                    }
                }
            } else if names.contains(&name.as_str()) {
                let keys = section.keys.iter();
                let keys = keys.map(|(key, (_, value))| (key.clone(), value.clone())).collect();
                settings.own.insert(name.clone(), keys);
            } else {
                warnings.push((section.line, format!("unknown section [{name}]")));
            }
        }
        warnings.sort_by_key(|(line, _)| *line);
        let told = warnings.into_iter().map(|(line, text)| format!("line {line}: {text}"));
        settings.warnings = told.collect();
        Ok(settings)
    }

    /// As the golden files have it.
    pub fn told(&self) -> Json {
        let listen = match &self.listen {
            Listen::Unix(path) => json!({"unix": path}),
            Listen::Tcp { host, port } => json!({"tcp": [host, port]}),
        };
        json!({
            "listen": listen,
            "token": self.token,
            "plugins": self.plugins,
            "console": self.console,
            "debugger": self.debugger,
            "own": self.own,
            "warnings": self.warnings,
        })
    }
}

impl Listen {
    /// The address of one process; of each, where the path has no `%(pid)s`.
    pub fn of(&self, pid: i32) -> Address {
        match self {
            Self::Unix(pattern) => Address::Unix(path_for(pattern, &pid.to_string()).into()),
            Self::Tcp { host, port } => Address::Tcp { host: host.clone(), port: *port },
        }
    }
}

pub(super) fn path_for(pattern: &str, pid: &str) -> String {
    let parts: Vec<String> = pattern.split("%%").map(|part| part.replace(PID, pid)).collect();
    parts.join("%")
}

#[derive(Default)]
struct Section {
    line: usize,
    keys: BTreeMap<String, (usize, String)>,
}

const BLANK: [char; 3] = [' ', '\t', '\r'];

fn sections(text: &str) -> Result<BTreeMap<String, Section>, IniError> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let mut present: Option<String> = None;
    let mut last: Option<String> = None;
    for (index, line) in text.split('\n').enumerate() {
        let number = index + 1;
        let fault = |what| IniError::Line { line: number, what };
        let bare = line.trim_matches(BLANK);
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        let keys = present.as_ref().and_then(|name| sections.get_mut(name));
        if let (true, Some(last), Some(section)) = (line.starts_with([' ', '\t']), &last, keys)
            && let Some((_, value)) = section.keys.get_mut(last)
        {
            *value = format!("{value}\n{}", without_comment(bare)).trim_matches('\n').to_owned();
            continue;
        }
        if let Some(name) = bare.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| fault(Fault::Unclosed))?;
            let name = name.trim_matches([' ', '\t']).to_owned();
            sections.entry(name.clone()).or_insert(Section { line: number, ..Section::default() });
            (present, last) = (Some(name), None);
            continue;
        }
        let section = present.as_ref().and_then(|name| sections.get_mut(name));
        let section = section.ok_or_else(|| fault(Fault::BeforeSections))?;
        let at = bare.find(['=', ':']).unwrap_or(0);
        let key = bare[..at].trim_matches([' ', '\t']).to_lowercase();
        if key.is_empty() {
            return Err(fault(Fault::NoSetting));
        }
        let value = without_comment(bare[at + 1..].trim_matches([' ', '\t']));
        section.keys.insert(key.clone(), (number, value.to_owned()));
        last = Some(key);
    }
    Ok(sections)
}

/// As Python 2's `ConfigParser` had it, for which such files were written.
fn without_comment(value: &str) -> &str {
    let end = [" ;", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
    value[..end.unwrap_or(value.len())].trim_matches([' ', '\t'])
}

fn enabled(
    sections: &BTreeMap<String, Section>,
    name: &str,
    warnings: &mut Vec<(usize, String)>,
) -> bool {
    let setting = sections.get(name).and_then(|section| section.keys.get("enabled"));
    let Some((line, value)) = setting else { return false };
    let value = value.to_lowercase();
    if !TRUE.contains(&value.as_str()) && !FALSE.contains(&value.as_str()) {
        let text = "`enabled` is 1, on, yes or true, or 0, off, no or false";
        warnings.push((*line, text.to_owned()));
    }
    TRUE.contains(&value.as_str())
}

fn listen(value: &str) -> Result<Listen, Fault> {
    if value.starts_with('/') {
        if value.split("%%").any(|part| part.replace(PID, "").contains('%')) {
            return Err(Fault::Percent);
        }
        if value.contains(['\0', '\n']) {
            return Err(Fault::NoPath);
        }
        return Ok(Listen::Unix(value.to_owned()));
    }
    let (host, port) = value.rsplit_once(':').ok_or(Fault::NoAddress)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(host) => host,
        None if host.contains(':') => "",
        None => host,
    };
    let digits = !port.is_empty() && port.len() < 6 && port.bytes().all(|one| one.is_ascii_digit());
    let port = if digits { port.parse().unwrap_or(0) } else { 0 };
    if host.is_empty() || port == 0 || host.contains([' ', '\t', '\n', '/', '%']) {
        return Err(Fault::NoAddress);
    }
    Ok(Listen::Tcp { host: host.to_owned(), port })
}

/// The name of a plugin that is given as a module, an entry point or a file.
pub fn name_of(entry: &str) -> &str {
    match entry.strip_suffix(".py") {
        Some(file) => file.rsplit('/').next().unwrap_or(file),
        None => entry.rsplit('.').next().unwrap_or(entry),
    }
}

/// The file that is meant where none is named.
pub fn usual() -> PathBuf {
    PathBuf::from("ispyd.ini")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_files_are_read_alike() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/golden/ini");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            if file.extension().is_none_or(|one| one != "ini") {
                continue;
            }
            let expected = std::fs::read_to_string(file.with_extension("json")).unwrap();
            let expected: Json = serde_json::from_str(&expected).unwrap();
            let told = match Settings::read(&file) {
                Ok(settings) => settings.told(),
                Err(error) => json!({"error": error.to_string()}),
            };
            assert_eq!(told, expected, "{}", file.display());
            count += 1;
        }
        assert!(count >= 12, "{count}");
    }

    #[test]
    fn a_process_has_its_own_path() {
        assert_eq!(path_for("/tmp/a-%(pid)s-100%%-%(pid)s", "7"), "/tmp/a-7-100%-7");
        assert_eq!(path_for("/tmp/%%(pid)s", "7"), "/tmp/%(pid)s");
    }

    #[test]
    fn any_bytes_are_answered() {
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    b"[]ispyd\nlisten=/:%(pid)s ;#\t\r9\xff"[(seed >> 33) as usize % 31]
                })
                .collect();
            let _ = Settings::parse(&bytes);
            let _ = Settings::parse(&[&b"[ispyd]\nlisten="[..], &bytes].concat());
        }
    }
}

//! Where the lines of earlier consoles are kept: one file for each application, readable by its user alone.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Lines that are kept.
pub(crate) const CAPACITY: usize = 5000;
/// Characters of a file's name.
const NAME_LIMIT: usize = 64;

/// `$XDG_STATE_HOME/spyhole/history`, or the place that the specification names in its stead.
fn folder() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state =
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("spyhole").join("history"))
}

/// The file for a process with this command line, made safe to write to; `None` if there is no place for it. `Err` says why not.
pub(crate) fn file_for(cmdline: &[String]) -> io::Result<Option<PathBuf>> {
    let Some(folder) = folder() else { return Ok(None) };
    prepare(&folder, &application(cmdline)).map(Some)
}

/// The same for commands of a debugger.
pub(crate) fn for_debugger(cmdline: &[String]) -> io::Result<Option<PathBuf>> {
    let Some(folder) = folder() else { return Ok(None) };
    prepare(&folder, &format!("pdb-{}", application(cmdline))).map(Some)
}

/// A private folder and a private file in it, both owned by whoever runs this: under `sudo` the home can be somebody
/// else's, who could let a link lead anywhere.
fn prepare(folder: &Path, name: &str) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let own = fs::metadata("/proc/self")?.uid();
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() || metadata.uid() != own {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the folder belongs to somebody else",
        ));
    }
    if metadata.mode() & 0o777 != 0o700 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    let path = folder.join(name);
    // The folder is ours alone now, so nobody can exchange the file between this look and its use.
    match fs::symlink_metadata(&path) {
        Ok(found) if !found.is_file() || found.uid() != own => {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is not a file of your own",
            ));
        }
        Ok(found) if found.mode() & 0o777 != 0o600 => {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        }
        Err(error) => return Err(error),
    }
    Ok(path)
}

/// A name for what a process runs: its module, its script, or its program.
fn application(cmdline: &[String]) -> String {
    let mut words = cmdline.iter().skip(1);
    let mut name = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "-m" => {
                name = words.next().cloned();
                break;
            }
            "-c" | "-" => break,
            "-W" | "-X" | "--check-hash-based-pycs" => {
                words.next();
            }
            option if option.starts_with('-') => {}
            script => {
                let file = Path::new(script).file_name().unwrap_or(OsStr::new(""));
                name = Some(file.to_string_lossy().into_owned());
                break;
            }
        }
    }
    let name = name.or_else(|| {
        let program = Path::new(cmdline.first()?).file_name()?;
        Some(program.to_string_lossy().into_owned())
    });
    let safe: String = name
        .unwrap_or_default()
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || "._-".contains(character) {
                character
            } else {
                '_'
            }
        })
        .take(NAME_LIMIT)
        .collect();
    // `.` and `..` are no files, and hidden ones are not found again.
    match safe.trim_start_matches('.') {
        "" => "python".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(words: &[&str]) -> String {
        application(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn names_of_applications() {
        assert_eq!(name(&["python3", "/srv/shop/manage.py", "runserver"]), "manage.py");
        assert_eq!(name(&["python3", "-u", "-W", "ignore", "-m", "http.server"]), "http.server");
        assert_eq!(name(&["/usr/bin/python3", "-c", "import x"]), "python3");
        assert_eq!(name(&["gunicorn: worker [shop]"]), "gunicorn__worker__shop_");
        assert_eq!(name(&["python3", "../.."]), "python");
        assert_eq!(name(&[]), "python");
        assert_eq!(name(&["python3", "/x/\u{1b}[2J/../a\n"]), "a_");
    }

    #[test]
    fn files_are_private() {
        let folder = std::env::temp_dir().join(format!("spyhole-history-{}", std::process::id()));
        let path = prepare(&folder, "app").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        prepare(&folder, "app").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
        assert!(prepare(&folder, "link").is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! Debian roots: which mirror this machine uses, and how to unpack a suite below a folder.
//!
//! It knows apt and debootstrap. It knows nothing about Python, and no mirror's address.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Fails with a clear sentence unless this process may make device nodes and change its root.
pub(crate) fn require_root() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read own status")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|uids| uids.split_whitespace().nth(1));
    if effective == Some("0") {
        return Ok(());
    }
    bail!("a Debian root can only be made by root; run `sudo cargo xtask pythons`")
}

/// The address that this machine's own apt configuration gives for its own suite.
///
/// The archive that serves this machine's suite is the one that also has the other suites; a
/// third-party source or a security archive does not.
pub(crate) fn mirror() -> Result<String> {
    let own = suite_of_this_machine()?;
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(RELEASE) $(COMPONENT) $(SITE)",
            "Created-By: Packages",
        ])
        .output()
        .context("cannot run `apt-get indextargets`; is this machine a Debian?")?;
    let listing = String::from_utf8_lossy(&output.stdout);
    pick_mirror(&listing, &own)
        .with_context(|| format!("the apt configuration names no mirror that serves `{own} main`"))
}

fn pick_mirror(listing: &str, suite: &str) -> Option<String> {
    listing.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (release, component, site) = (words.next()?, words.next()?, words.next()?);
        (release == suite && component == "main").then(|| site.to_owned())
    })
}

fn suite_of_this_machine() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("/etc/os-release names no suite")
}

/// What to unpack.
pub(crate) struct Suite<'a> {
    pub(crate) name: &'a str,
    pub(crate) mirror: &'a str,
    pub(crate) packages: &'a [String],
}

/// Unpacks and configures the suite in `folder`, which must not exist yet.
pub(crate) fn unpack(suite: &Suite<'_>, folder: &Path) -> Result<()> {
    let mut words = vec![
        "--variant=minbase".to_owned(),
        // An archive whose signature cannot be checked is refused, not trusted.
        "--force-check-gpg".to_owned(),
        format!("--include={}", suite.packages.join(",")),
        suite.name.to_owned(),
        folder.display().to_string(),
        suite.mirror.to_owned(),
    ];
    words.extend(script(suite.name)?.map(|path| path.display().to_string()));

    // In a mount namespace of its own: whatever moment this is killed at, no /proc stays mounted
    // in a folder that a later run deletes.
    let output = Command::new("unshare")
        .args(["--mount", "--", "debootstrap"])
        .args(&words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run `unshare debootstrap`; install the package debootstrap")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let gone = missing_packages(&said);
    if !gone.is_empty() {
        bail!("suite `{}` no longer has {}", suite.name, gone.join(" and "));
    }
    let tail: Vec<&str> = said.lines().rev().take(8).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    bail!("debootstrap failed ({}):\n{}", output.status, tail.join("\n"))
}

/// Downloads one package of a suite by its name and unpacks its files below `folder`, installing nothing.
pub(crate) fn unpack_package(suite: &str, package: &str, folder: &Path) -> Result<()> {
    let own = folder.join(".apt");
    for part in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(own.join(part))?;
    }
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let source = format!("deb [signed-by={keyring}] {} {suite} main\n", mirror()?);
    fs::write(own.join("sources.list"), source)?;
    let at = own.display();
    // apt with folders of its own: the machine's lists and packages stay as they are.
    let settings = format!(
        "Dir::State \"{at}/state\";\nDir::State::status \"/dev/null\";\nDir::Cache \"{at}/cache\";\n\
         Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
         Acquire::Languages \"none\";\nAPT::Sandbox::User \"root\";\n"
    );
    let configuration = own.join("apt.conf");
    fs::write(&configuration, settings)?;
    let apt = |words: &[&str]| -> Result<()> {
        let output = Command::new("apt-get")
            .args(words)
            .env("APT_CONFIG", &configuration)
            .current_dir(&own)
            .stdin(Stdio::null())
            .output()
            .context("cannot run apt-get")?;
        if !output.status.success() {
            bail!(
                "`apt-get {}` failed: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    };
    apt(&["update", "-qq"])?;
    apt(&["download", "-qq", package])?;
    for entry in fs::read_dir(&own)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(package) && name.ends_with(".deb") {
            let unpacked = Command::new("dpkg").arg("-x").arg(&path).arg(folder).status()?;
            if !unpacked.success() {
                bail!("`dpkg -x {}` failed", path.display());
            }
        }
    }
    fs::remove_dir_all(&own)?;
    Ok(())
}

/// Older debootstraps do not know the newest suite's name; its rules are those of `sid`.
fn script(suite: &str) -> Result<Option<PathBuf>> {
    let scripts = Path::new("/usr/share/debootstrap/scripts");
    if !scripts.is_dir() {
        bail!("debootstrap is not installed; run `apt-get install debootstrap`");
    }
    if scripts.join(suite).exists() {
        return Ok(None);
    }
    Ok(Some(scripts.join("sid")))
}

/// The packages that debootstrap's message says it could not find.
fn missing_packages(said: &str) -> Vec<&str> {
    said.lines()
        .filter_map(|line| line.split_once("Couldn't find these debs:"))
        .flat_map(|(_, names)| names.split_whitespace())
        .collect()
}

/// Deletes what a root needs only to install more: packages, indexes, documentation.
pub(crate) fn slim(root: &Path) -> Result<()> {
    for folder in
        ["var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"]
    {
        let path = root.join(folder);
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot delete {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_that_serves_the_own_suite_is_the_mirror() {
        let listing = "stable main https://third.example/apt\n\
                       bookworm-security main http://security.example/debian-security\n\
                       bookworm contrib http://contrib.example/debian\n\
                       bookworm main http://archive.example/debian\n";
        assert_eq!(
            pick_mirror(listing, "bookworm").as_deref(),
            Some("http://archive.example/debian")
        );
        assert_eq!(pick_mirror(listing, "trixie"), None);
    }

    #[test]
    fn a_package_that_left_the_suite_is_named() {
        let said = "I: Resolving\nE: Couldn't find these debs: python3.14 python3.15\n";
        assert_eq!(missing_packages(said), ["python3.14", "python3.15"]);
        assert!(missing_packages("I: Base system installed successfully.\n").is_empty());
    }
}

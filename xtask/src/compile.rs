//! `cargo xtask compile [--check]`: compiles the agent for every version on this machine into `crates/agent/compiled`.
//!
//! Each file: the magic number (4 bytes), a hash of the sources (8), and for the core and each feature its length (4)
//! and its marshalled code.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use spyhole_agent::{bundle, compiled};
use spyhole_testkit::interpreters;

/// Reads `name\0source\0...` on standard input, writes the file's content after its hash.
const PROGRAM: &str = "
import importlib.util, marshal, struct, sys
parts = sys.stdin.buffer.read().decode('utf-8').split('\\0')
out = [importlib.util.MAGIC_NUMBER]
for name, source in zip(parts[::2], parts[1::2]):
    code = marshal.dumps(compile(source, name, 'exec', 0, True, 0))
    out += [struct.pack('<I', len(code)), code]
sys.stdout.buffer.write(b''.join(out))
";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let check = arguments.iter().any(|a| a == "--check");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/agent/compiled");
    fs::create_dir_all(&folder)?;
    let mut input = format!("<spyhole>\0{}\0", bundle::CORE);
    for feature in bundle::ALL {
        input += &format!("<spyhole {}>\0{}\0", feature.name, feature.source);
    }
    for interpreter in interpreters::interpreters() {
        let version = interpreter.minor();
        let mut command = interpreter.command();
        command.args(["-s", "-S", "-B", "-c", PROGRAM]).stdin(Stdio::piped());
        // In sets of constants the order is that of hashes, which are to be the same each time.
        command.env("PYTHONHASHSEED", "0").env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        let output = feed(&mut command, input.as_bytes())
            .with_context(|| format!("compiling with {version}"))?;
        ensure!(output.len() > 4, "{version} compiled nothing");
        let mut bytes = output[..4].to_vec();
        bytes.extend(compiled::SOURCES.to_le_bytes());
        bytes.extend(&output[4..]);
        let path = folder.join(format!("cpython-{version}.bin"));
        let there = fs::read(&path).unwrap_or_default();
        if check {
            if there != bytes {
                bail!("{} is stale: run `cargo xtask compile`", path.display());
            }
        } else if there != bytes {
            fs::write(&path, &bytes)?;
        }
        println!("{version}: {} bytes", bytes.len());
    }
    Ok(())
}

fn feed(command: &mut std::process::Command, input: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    stdin.write_all(input)?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "it failed");
    Ok(output.stdout)
}

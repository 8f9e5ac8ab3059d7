//! Compiles the stub on its own and takes its one section out of the object file. The build fails if the section
//! needs relocating or anything beside it.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use object::read::elf::{ElfFile64, SectionHeader};
use object::{Object, ObjectSection, ObjectSymbol};

const SECTION: &str = ".text.stub";

fn main() {
    println!("cargo:rerun-if-changed=blob");
    println!("cargo:rerun-if-changed=src/params.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let object_path = out.join("stub.o");
    let status = Command::new(env::var_os("RUSTC").expect("cargo sets it"))
        .args(["--edition=2024", "--crate-type=lib", "--crate-name=stub", "--emit=obj"])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Cforce-unwind-tables=no", "-Ccodegen-units=1"])
        .args(["-Crelocation-model=pic", "-Coverflow-checks=no", "-Cdebug-assertions=no"])
        .args(["-Cdebuginfo=0", "--target=x86_64-unknown-linux-gnu"])
        .arg("-o")
        .arg(&object_path)
        .arg("blob/stub.rs")
        .status()
        .expect("rustc runs");
    assert!(status.success(), "the stub does not compile");
    let bytes = fs::read(&object_path).expect("rustc wrote it");
    let file: ElfFile64<'_> = ElfFile64::parse(&*bytes).expect("an ELF object");
    let section = file.section_by_name(SECTION).expect("the stub's section");
    assert_eq!(section.relocations().count(), 0, "the stub has relocations");
    for other in file.sections() {
        let name = other.name().unwrap_or_default();
        let allocated =
            other.elf_section_header().sh_flags(file.endian()).0 & object::elf::SHF_ALLOC.0 != 0;
        let harmless = name == SECTION || name.starts_with(".eh_frame") || name.contains("panic");
        assert!(
            !allocated || other.size() == 0 || harmless || is_panic_handler(&file, &other),
            "the stub needs section `{name}`"
        );
    }
    fs::write(out.join("stub.bin"), section.data().expect("its bytes")).expect("OUT_DIR");
    let mut table = String::new();
    for symbol in file.symbols().filter(|s| s.section_index() == Some(section.index())) {
        if let Some(name) = symbol.name().ok().filter(|n| n.starts_with("stub_")) {
            table += &format!("pub const {}: u64 = {};\n", name.to_uppercase(), symbol.address());
        }
    }
    fs::write(out.join("entries.rs"), table).expect("OUT_DIR");
}

/// Rust wants a panic handler; nothing refers to it.
fn is_panic_handler(
    file: &ElfFile64<'_>,
    section: &object::read::elf::ElfSection64<'_, '_>,
) -> bool {
    file.symbols()
        .filter(|s| s.section_index() == Some(section.index()))
        .any(|s| s.name().is_ok_and(|n| n.contains("panic") || n.contains("unwind")))
}

//! Makes the static files ready for the binary: the stylesheet names its fonts by the address that never changes, and
//! each file that gets smaller by it is compressed as small as it gets. So nobody compresses when a browser asks, and
//! the encoder of brotli, which is large, is in no binary.
//!
//! And tells the linker in which order the daemon's functions stand (docs/adr/0009).
//!
//! Written to `OUT_DIR`: the files, `<name>.gz` and `<name>.br`, and `files.rs`, the table that
//! `src/web/pages/assets.rs` includes.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where they are kept.
const FROM: &str = "src/web/static";
/// The linker's script; `just order` makes it.
const ORDER: &str = "benches/order/daemon.ld";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FROM}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    order(&out)?;
    let out = out.join("static");
    let mut files = Vec::new();
    read(Path::new(FROM), "", &mut files)?;
    files.sort();
    let all = hash(&files);
    let mut table = format!("const HASH: &str = \"{all}\";\nstatic FILES: &[File] = &[\n");
    for (name, bytes) in &mut files {
        if name == "app.css" {
            *bytes = String::from_utf8(bytes.clone())?.replace(".woff2)", &format!(".woff2?v={all})")).into_bytes();
        }
        let path = out.join(&*name);
        fs::create_dir_all(path.parent().ok_or("no parent")?)?;
        fs::write(&path, &bytes)?;
        let packed = [("gz", gzip(bytes)?), ("br", brotli(bytes)?)].map(|(end, packed)| {
            // A font is compressed already.
            let smaller = packed.len() < bytes.len() * 9 / 10;
            let path = out.join(format!("{name}.{end}"));
            let text = if smaller { format!("Some({})", include(&format!("{name}.{end}"))) } else { "None".to_owned() };
            (smaller.then_some((path, packed)), text)
        });
        for (path, packed) in packed.iter().filter_map(|(file, _)| file.as_ref()) {
            fs::write(path, packed)?;
        }
        let [(_, gzip), (_, brotli)] = &packed;
        let (etag, plain) = (hash(&*bytes), include(name));
        writeln!(
            table,
            "File {{ name: {name:?}, etag: \"\\\"{etag}\\\"\", plain: {plain}, gzip: {gzip}, brotli: {brotli} }},"
        )?;
    }
    table.push_str("];\n");
    fs::write(out.with_file_name("files.rs"), table)?;
    Ok(())
}

/// What a daemon at rest runs stands side by side in its binary, so that little of the rest becomes resident. For
/// release builds on Linux, and only where the linker takes such a script; all else is built as ever.
fn order(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ORDER}");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("PROFILE", "release") {
        return Ok(());
    }
    let script = std::env::current_dir()?.join(ORDER);
    let argument = format!("-Wl,-T,{}", script.display());
    if links_with(&argument, out)? {
        println!("cargo::rustc-link-arg-bin=nixfleet={argument}");
    }
    Ok(())
}

/// Whether an empty program can be linked with this argument.
fn links_with(argument: &str, out: &Path) -> Result<bool, Box<dyn Error>> {
    let program = out.join("empty.rs");
    fs::write(&program, "fn main() {}")?;
    let var = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let mut rustc = Command::new(var("RUSTC")?);
    rustc.arg(&program).args(["--crate-type=bin", "--target", &var("TARGET")?]).arg("-o").arg(out.join("empty"));
    rustc.args(["-C", &format!("link-arg={argument}")]);
    if let Ok(linker) = var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    rustc.args(var("CARGO_ENCODED_RUSTFLAGS")?.split('\x1f').filter(|flag| !flag.is_empty()));
    Ok(rustc.output()?.status.success())
}

/// How the table takes a file in.
fn include(name: &str) -> String {
    format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/static/{name}\"))")
}

/// All files below a folder, by what follows `/static/` in their address.
fn read(folder: &Path, before: &str, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| format!("{}: no text", name.display()))?;
        if entry.file_type()?.is_dir() {
            read(&entry.path(), &format!("{before}{name}/"), files)?;
        } else {
            files.push((format!("{before}{name}"), fs::read(entry.path())?));
        }
    }
    Ok(())
}

/// Tells one build's files from another's; nobody relies on it for anything else.
fn hash(of: &(impl std::hash::Hash + ?Sized)) -> String {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn brotli(mut bytes: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let mut packed = Vec::new();
    let how = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut bytes, &mut packed, &how)?;
    Ok(packed)
}

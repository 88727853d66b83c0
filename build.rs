//! Makes the static files ready for the binary: the stylesheet names its fonts by the address that never changes, and
//! each file that gets smaller by it is compressed as small as it gets. So nobody compresses when a browser asks, and
//! the encoder of brotli, which is large, is in no binary.
//!
//! Written to `OUT_DIR`: the files, `<name>.gz` and `<name>.br`, and `files.rs`, the table that
//! `src/web/pages/assets.rs` includes.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where they are kept.
const FROM: &str = "src/web/static";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FROM}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("static");
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

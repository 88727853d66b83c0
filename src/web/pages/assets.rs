//! The static files, inside the binary. Addresses carry a hash of all of them: a new build has new addresses, and
//! a browser may keep what it has for ever. The script is written as modules and served as one file.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "src/web/static/"]
struct Files;

/// A static file.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its content.
    pub bytes: bytes::Bytes,
    /// For the header `Content-Type`.
    pub content_type: &'static str,
    /// For the header `ETag`, with its quotes.
    pub etag: String,
}

struct Assets {
    hash: String,
    files: BTreeMap<String, Asset>,
}

/// The modules, each after those that it imports. They are served as one file: one request, and smaller.
const MODULES: [&str; 9] =
    ["gate.js", "sgr.js", "time.js", "place.js", "live.js", "log.js", "act.js", "keys.js", "app.js"];

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let raw = |name: &str| Files::get(name).map(|file| file.data);
    let text = |name: &str| raw(name).and_then(|data| String::from_utf8(data.into_owned()).ok()).unwrap_or_default();
    let mut files: BTreeMap<String, Vec<u8>> = Files::iter()
        .filter(|name| !MODULES.contains(&name.as_ref()))
        .filter_map(|name| raw(&name).map(|data| (name.into_owned(), data.into_owned())))
        .collect();
    files.insert("app.js".to_owned(), MODULES.map(|name| lean(&text(name))).concat().into_bytes());
    files.insert("theme.js".to_owned(), lean(&text("theme.js")).into_bytes());
    let mut all = ring::digest::Context::new(&ring::digest::SHA256);
    for bytes in files.values() {
        all.update(bytes);
    }
    let hash = short_hash(all.finish().as_ref());
    // The stylesheet names its fonts by the address that never changes, too.
    let css = text("app.css").replace(".woff2\"", &format!(".woff2?v={hash}\""));
    files.insert("app.css".to_owned(), css.into_bytes());
    let files = files
        .into_iter()
        .map(|(name, bytes)| {
            let etag = format!("\"{}\"", short_hash(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref()));
            let content_type = content_type(&name);
            (name, Asset { bytes: bytes.into(), content_type, etag })
        })
        .collect();
    Assets { hash, files }
});

/// The file at `path`, which is what follows `/static/`, without a query.
pub fn asset(path: &str) -> Option<Asset> {
    ASSETS.files.get(path).cloned()
}

/// The address of a static file: `/static/app.css?v=<hash>`. Asked for with this `v`, it never changes.
pub fn asset_url(path: &str) -> String {
    format!("/static/{path}?v={}", ASSETS.hash)
}

/// A module as a part of one file: without what only people read, and without imports and exports.
fn lean(module: &str) -> String {
    let mut out = String::with_capacity(module.len());
    let lines = module.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("import ")) {
        tight(line.strip_prefix("export ").unwrap_or(line), &mut out);
        out.push('\n');
    }
    out
}

/// A line of script without the spaces that only people need, and without a comment at its end. What stands in
/// quotes, and a regular expression, stays as it is.
fn tight(line: &str, out: &mut String) {
    let sign = |c: char| "=,;:?(){}<>&|![]".contains(c);
    let start = out.len();
    let mut within: Option<char> = None;
    let mut escaped = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        if let Some(end) = within {
            within = within.filter(|_| escaped || c != end);
            escaped = c == '\\' && !escaped;
        } else if c == '/' && next == Some('/') && out.ends_with(sign) {
            break;
        } else if matches!(c, '"' | '`') || c == '/' && next.is_some_and(|next| next != ' ') {
            // A division has a space behind it.
            within = Some(c);
        } else if c == ' ' && (out[start..].ends_with(sign) || next.is_some_and(sign)) {
            continue;
        }
        out.push(c);
    }
}

fn short_hash(digest: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&digest[..8])
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn every_address_in_a_page_has_a_file() {
        for name in ["app.css", "app.js", "theme.js", "icon.svg", "vendor/idiomorph.min.js"] {
            assert!(asset(name).is_some(), "{name}");
            assert!(asset_url(name).starts_with(&format!("/static/{name}?v=")));
        }
        assert!(asset("../Cargo.toml").is_none());
        assert!(asset("").is_none());
    }

    #[test]
    fn the_script_is_one_file() {
        let app = asset("app.js").unwrap();
        let text = std::str::from_utf8(&app.bytes).unwrap();
        for line in text.lines() {
            assert!(!line.starts_with("import ") && !line.starts_with("export "), "{line}");
        }
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/static");
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if name.rsplit_once('.').is_some_and(|(_, end)| end == "js") && name != "theme.js" {
                assert!(MODULES.contains(&name.as_str()), "{name} is in no file that is served");
            }
        }
        assert_eq!(app.content_type, "text/javascript; charset=utf-8");
    }

    #[test]
    fn the_script_knows_no_op() {
        let app = asset("app.js").unwrap();
        let text = std::str::from_utf8(&app.bytes).unwrap();
        // An element that is to go is told with the word that removes a host, and means no op.
        for op in nixfleet_protocol::Op::ALL.iter().filter(|op| op.as_str() != "remove") {
            for quote in ['"', '\'', '`', '/'] {
                let word = format!("{quote}{op}{quote}");
                assert!(!text.contains(&word), "{word}: what is to be done is decided by the dashboard");
            }
        }
    }

    #[test]
    fn a_line_is_made_tight_and_stays_what_it_is() {
        for (line, made) in [
            ("const a = { b: 1 }; // why", "const a={b:1};"),
            ("if (a === \"x = y\") return `a , ${b} = c`;", "if(a===\"x = y\")return `a , ${b} = c`;"),
            ("text.replace(/a , b\\/ = /g, x)", "text.replace(/a , b\\/ = /g,x)"),
            ("left + width / 2 - own.width / 2", "left + width / 2 - own.width / 2"),
            ("\"http://x\", 1", "\"http://x\",1"),
            ("\"a \\\" = b\", 1", "\"a \\\" = b\",1"),
        ] {
            let mut out = String::new();
            tight(line, &mut out);
            assert_eq!(out, made);
        }
    }

    #[test]
    fn our_own_script_is_at_most_10_kb_compressed() {
        let compressed = |name: &str| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            gzip.write_all(&asset(name).unwrap().bytes).unwrap();
            gzip.finish().unwrap().len()
        };
        let own = compressed("app.js") + compressed("theme.js");
        assert!(own <= 10_000, "{own} bytes");
    }
}

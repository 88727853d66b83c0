//! The static files, inside the binary. Addresses carry a hash of all of them: a new build has new addresses, and
//! a browser may keep what it has for ever. `app.js`, `theme.js` and `app.css` are made of `src/web/script` and
//! `src/web/style` by `npm run page` in `tests/browser`; `./check node` fails when they are not what these make.

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

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let mut files: BTreeMap<String, Vec<u8>> = Files::iter()
        .filter_map(|name| Files::get(&name).map(|file| (name.into_owned(), file.data.into_owned())))
        .collect();
    let mut all = ring::digest::Context::new(&ring::digest::SHA256);
    for bytes in files.values() {
        all.update(bytes);
    }
    let hash = short_hash(all.finish().as_ref());
    // The stylesheet names its fonts by the address that never changes, too.
    if let Some(css) = files.get_mut("app.css") {
        let text = String::from_utf8_lossy(css).replace(".woff2)", &format!(".woff2?v={hash})"));
        *css = text.into_bytes();
    }
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
    fn the_stylesheet_names_its_fonts_by_the_address_that_never_changes() {
        let css = asset("app.css").unwrap();
        let text = std::str::from_utf8(&css.bytes).unwrap();
        assert_eq!(text.matches(".woff2?v=").count(), 2);
        assert_eq!(text.matches(".woff2").count(), 2);
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

//! The static files, inside the binary. Addresses carry a hash of all of them: a new build has new addresses, and
//! a browser may keep what it has for ever. The modules name each other without a hash; it is put in here.

use std::borrow::Cow;
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
    let mut all = ring::digest::Context::new(&ring::digest::SHA256);
    let raw: BTreeMap<String, Cow<'static, [u8]>> = Files::iter()
        .filter_map(|name| Files::get(&name).map(|file| (name.into_owned(), file.data)))
        .inspect(|(_, data)| all.update(data))
        .collect();
    let hash = short_hash(all.finish().as_ref());
    let files = raw
        .into_iter()
        .map(|(name, data)| {
            let bytes = with_hash(&name, data, &hash);
            let etag = format!("\"{}\"", short_hash(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref()));
            let content_type = content_type(&name);
            (name, Asset { bytes, content_type, etag })
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

/// Modules import each other, and the stylesheet its fonts, by the address that never changes.
fn with_hash(name: &str, data: Cow<'static, [u8]>, hash: &str) -> bytes::Bytes {
    let text = match std::str::from_utf8(&data) {
        Ok(text) if ends_with(name, ".js") && !name.starts_with("vendor/") => {
            text.replace(".js\";", &format!(".js?v={hash}\";"))
        }
        Ok(text) if ends_with(name, ".css") => text.replace(".woff2\"", &format!(".woff2?v={hash}\"")),
        _ => return bytes::Bytes::from(data.into_owned()),
    };
    bytes::Bytes::from(text)
}

fn short_hash(digest: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&digest[..8])
}

fn ends_with(name: &str, end: &str) -> bool {
    name.ends_with(end)
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
    fn modules_import_each_other_by_an_address_that_never_changes() {
        let app = asset("app.js").unwrap();
        let text = std::str::from_utf8(&app.bytes).unwrap();
        for line in text.lines().filter(|line| line.contains(" from \"./")) {
            assert!(line.contains(".js?v="), "{line}");
        }
        assert_eq!(app.content_type, "text/javascript; charset=utf-8");
    }

    #[test]
    fn our_own_script_stays_small() {
        let own: usize = ASSETS
            .files
            .iter()
            .filter(|(name, _)| ends_with(name, ".js") && !name.starts_with("vendor/"))
            .map(|(_, file)| file.bytes.len())
            .sum();
        // 10 kB compressed is the promise; such text shrinks to less than a third.
        assert!(own < 32 * 1024, "{own} bytes");
    }
}

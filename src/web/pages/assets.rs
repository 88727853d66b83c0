//! The static files, inside the binary, compressed when it was built (`build.rs`). Addresses carry a hash of all of
//! them: a new build has new addresses, and a browser may keep what it has for ever. `app.js`, `theme.js` and
//! `app.css` are made of `src/web/script` and `src/web/style` by `npm run page` in `tests/browser`; `./check node`
//! fails when they are not what these make.

/// A static file.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// What follows `/static/` in its address.
    pub name: &'static str,
    /// For the header `ETag`, with its quotes.
    pub etag: &'static str,
    /// Its content.
    pub plain: &'static [u8],
    /// The same, gzipped, where that is smaller.
    pub gzip: Option<&'static [u8]>,
    /// The same, in brotli, where that is smaller.
    pub brotli: Option<&'static [u8]>,
}

// HASH, and FILES sorted by name.
include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The file at `path`, which is what follows `/static/`, without a query.
pub fn asset(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == path)
}

/// The address of a static file: `/static/app.css?v=<hash>`. Asked for with this `v`, it never changes.
pub fn asset_url(path: &str) -> String {
    format!("/static/{path}?v={HASH}")
}

/// What the addresses of all static files end with: a page that came with another one is of another build.
pub(super) fn build() -> &'static str {
    HASH
}

impl File {
    /// For the header `Content-Type`.
    pub fn content_type(&self) -> &'static str {
        match self.name.rsplit_once('.').map_or("", |(_, end)| end) {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            "woff2" => "font/woff2",
            _ => "text/plain; charset=utf-8",
        }
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
    fn the_stylesheet_names_its_fonts_by_the_address_that_never_changes() {
        let text = std::str::from_utf8(asset("app.css").unwrap().plain).unwrap();
        assert_eq!(text.matches(&format!(".woff2?v={HASH})")).count(), 2);
        assert_eq!(text.matches(".woff2").count(), 2);
    }

    #[test]
    fn text_is_there_compressed_and_fonts_are_not_compressed_twice() {
        for file in FILES {
            let packed = [file.gzip, file.brotli];
            if file.content_type() == "font/woff2" {
                assert_eq!(packed, [None, None], "{}", file.name);
            } else if file.plain.len() > 1000 {
                assert!(
                    packed.iter().all(|packed| packed.is_some_and(|it| it.len() < file.plain.len())),
                    "{}",
                    file.name
                );
            }
        }
    }

    #[test]
    fn what_is_compressed_is_the_file() {
        let css = asset("app.css").unwrap();
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(css.gzip.unwrap()), &mut text).unwrap();
        assert_eq!(text, css.plain);
    }

    #[test]
    fn the_script_knows_no_op() {
        let app = asset("app.js").unwrap();
        let text = std::str::from_utf8(app.plain).unwrap();
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
        // As every browser of today is sent it.
        let compressed = |name| asset(name).unwrap().brotli.unwrap().len();
        let own = compressed("app.js") + compressed("theme.js");
        assert!(own <= 10_000, "{own} bytes");
    }
}

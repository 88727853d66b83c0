//! The static files. Asked for by the address with a hash they may be kept for ever; without, they are asked for
//! again and answered with 304. They were compressed when NixFleet was built; here one of the forms is chosen.

use hyper::{StatusCode, header};

use super::answer::{self, Answer};
use super::problem::Refused;
use super::{Asked, pages, takes};

/// `GET /static/{path}`.
pub(super) fn asset(asked: &Asked) -> Result<Answer, Refused> {
    let path = asked.matched.text("path")?;
    let asset = pages::asset(path).ok_or_else(Refused::no_such_path)?;
    let hashed = asked.query.get("v").is_some_and(|v| pages::asset_url(path).ends_with(&format!("?v={v}")));
    let known = asked.headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(|tags| {
        tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag || tag.trim() == "*")
    });
    let (content, encoding) = match (asset.brotli, asset.gzip) {
        (Some(brotli), _) if takes(&asked.headers, "br") => (brotli, Some("br")),
        (_, Some(gzip)) if takes(&asked.headers, "gzip") => (gzip, Some("gzip")),
        _ => (asset.plain, None),
    };
    let mut answer = if known {
        Answer::empty(StatusCode::NOT_MODIFIED)
    } else {
        Answer::whole(StatusCode::OK, asset.content_type(), content)
    };
    answer.set(header::CACHE_CONTROL, if hashed { "public, max-age=31536000, immutable" } else { "no-cache" });
    answer.set_text(header::ETAG, asset.etag);
    if let Some(encoding) = encoding {
        answer.set(header::VARY, "accept-encoding");
        answer.set(header::CONTENT_ENCODING, encoding);
        answer::weaken_etag(&mut answer.headers);
    }
    Ok(answer)
}

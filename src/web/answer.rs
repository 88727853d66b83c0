//! Answers: bodies, headers that every answer has, compression. What a room of the web makes is an [`Answer`];
//! it becomes a response of hyper's in one place.

use std::io::Write as _;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::pages::{ErrorPage, error_page};
use super::problem::Refused;

/// The body of a response.
pub(super) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// Smaller than this is not worth compressing.
const WORTH_IT: usize = 1024;
/// Larger than this is compressed off the runtime's threads.
const LARGE: usize = 64 * 1024;

/// What may run in a page: what we sent, and nothing else.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                   connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
                           magnetometer=(), microphone=(), midi=(), payment=(), usb=()";

/// What is in an answer.
pub(super) enum Content {
    /// Nothing.
    Empty,
    /// All of it.
    Whole(Bytes),
    /// It comes piece by piece.
    Stream(Body),
}

/// An answer that is not on its way yet.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
}

impl Answer {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), content: Content::Empty }
    }

    pub(super) fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut answer = Self { content: Content::Whole(body.into()), ..Self::empty(status) };
        answer.set(header::CONTENT_TYPE, content_type);
        answer
    }

    pub(super) fn html(status: StatusCode, page: String) -> Self {
        Self::whole(status, "text/html; charset=utf-8", page)
    }

    pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Self, Refused> {
        let body = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "an answer can't be written as JSON");
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "broken", "The answer could not be written.")
        })?;
        Ok(Self::whole(status, "application/json", body))
    }

    pub(super) fn ok<T: Serialize>(value: &T) -> Result<Self, Refused> {
        Self::json(StatusCode::OK, value)
    }

    /// Elsewhere, by GET.
    pub(super) fn see_other(place: &'static str) -> Self {
        let mut answer = Self::empty(StatusCode::SEE_OTHER);
        answer.set(header::LOCATION, place);
        answer
    }

    pub(super) fn set(&mut self, name: HeaderName, value: &'static str) {
        self.headers.insert(name, HeaderValue::from_static(value));
    }

    /// A header whose value we made; one that is no header's value is left out.
    pub(super) fn set_text(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    pub(super) fn cookie(&mut self, cookie: &cookie::Cookie<'_>) {
        if let Ok(mut value) = HeaderValue::from_str(&cookie.to_string()) {
            value.set_sensitive(true);
            self.headers.append(header::SET_COOKIE, value);
        }
    }
}

/// A refusal as the one who asked can read it.
pub(super) fn refusal(refused: &Refused, as_page: bool) -> Answer {
    let mut answer = if as_page {
        let title = refused.status.canonical_reason().unwrap_or("Refused");
        let page = ErrorPage { status: refused.status.as_u16(), title, detail: &refused.message };
        Answer::html(refused.status, error_page(page))
    } else {
        let body = serde_json::to_vec(&refused.problem()).unwrap_or_default();
        Answer::whole(refused.status, "application/problem+json", body)
    };
    if refused.status == StatusCode::UNAUTHORIZED {
        answer.set(header::WWW_AUTHENTICATE, "Bearer");
    }
    if let Some(after) = refused.retry_after {
        answer.set_text(header::RETRY_AFTER, &after.as_secs().max(1).to_string());
    }
    if let Some(allow) = &refused.allow {
        answer.set_text(header::ALLOW, allow);
    }
    answer
}

/// How an answer is finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    /// The browser speaks https.
    pub(super) https: bool,
    /// The client takes gzip.
    pub(super) gzip: bool,
    /// The client wants no body.
    pub(super) head: bool,
}

/// The response: the headers that every answer has, compressed where that is worth it.
pub(super) async fn finish(answer: Answer, how: Finish) -> Response<Body> {
    let Answer { status, mut headers, content } = answer;
    guard(&mut headers, how.https);
    let content = match content {
        Content::Whole(bytes) if compressible(&headers) && bytes.len() >= WORTH_IT => {
            headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
            if how.gzip {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                weaken_etag(&mut headers);
                Content::Whole(compressed(bytes).await)
            } else {
                Content::Whole(bytes)
            }
        }
        content @ (Content::Empty | Content::Whole(_) | Content::Stream(_)) => content,
    };
    if let Content::Whole(bytes) = &content {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    let body = match content {
        Content::Whole(bytes) if !how.head => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        Content::Stream(body) if !how.head => body,
        Content::Empty | Content::Whole(_) | Content::Stream(_) => {
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn guard(headers: &mut HeaderMap, https: bool) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CSP);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("permissions-policy"), PERMISSIONS);
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(header::CACHE_CONTROL, "no-store");
    if https {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains");
    }
}

fn compressible(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.starts_with("text/") || matches!(kind, "application/json" | "application/problem+json" | "image/svg+xml")
}

/// What is compressed is not the same bytes.
pub(super) fn weaken_etag(headers: &mut HeaderMap) {
    let weak = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(|tag| format!("W/{tag}"));
    if let Some(weak) = weak.and_then(|weak| HeaderValue::from_str(&weak).ok()) {
        headers.insert(header::ETAG, weak);
    }
}

async fn compressed(bytes: Bytes) -> Bytes {
    if bytes.len() < LARGE {
        return gzip(&bytes);
    }
    let plain = bytes.clone();
    tokio::task::spawn_blocking(move || gzip(&plain)).await.unwrap_or(bytes)
}

/// Writing to memory can't fail. Rows are long and alike: level 6 makes fifty of them a sixth smaller than 4 does, for a
/// millisecond more.
fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 3), flate2::Compression::new(6));
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.unwrap_or_default().into()
}

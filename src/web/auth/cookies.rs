//! Cookies that prove to be ours: an id and an HMAC-SHA256 over it and its purpose. The first secret signs, all
//! verify, so that a secret can be changed without anyone logging in again.

use std::time::Duration;

use cookie::{Cookie, SameSite};
use hyper::header::{self, HeaderMap};
use ring::hmac;

use crate::config::Secret;

/// What a cookie is for. One that was signed for something else is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Purpose {
    /// A login session.
    Session,
    /// The form of the login page.
    LoginForm,
}

impl Purpose {
    /// The cookie's name.
    pub(in crate::web) const fn name(self) -> &'static str {
        match self {
            Self::Session => "nixfleet_session",
            Self::LoginForm => "nixfleet_login",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Session => "/",
            Self::LoginForm => "/login",
        }
    }

    fn message(self, id: &str) -> Vec<u8> {
        [self.name().as_bytes(), b":", id.as_bytes()].concat()
    }
}

/// Cookies of one client that are signed at most this often are looked at; more is an attack.
const LOOKED_AT: usize = 8;

/// The keys that sign and verify.
pub(in crate::web) struct CookieKeys {
    signs: hmac::Key,
    verify: Vec<hmac::Key>,
}

impl CookieKeys {
    /// The first secret signs, all verify.
    pub(in crate::web) fn new(first: &Secret, further: &[Secret]) -> Self {
        let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let verify = std::iter::once(first).chain(further).map(key).collect();
        Self { signs: key(first), verify }
    }

    /// A cookie with this id. `secure` is left out only where the browser itself speaks plain http to a loopback name.
    pub(in crate::web) fn make(&self, purpose: Purpose, id: &str, lasts: Duration, secure: bool) -> Cookie<'static> {
        let tag = hmac::sign(&self.signs, &purpose.message(id));
        let value = format!("{id}.{}", data_encoding::BASE64URL_NOPAD.encode(tag.as_ref()));
        build(purpose, value, lasts, secure)
    }

    /// A cookie that takes the one of this purpose away.
    pub(in crate::web) fn remove(purpose: Purpose, secure: bool) -> Cookie<'static> {
        build(purpose, String::new(), Duration::ZERO, secure)
    }

    /// The id of the first cookie of this purpose that proves to be ours.
    pub(in crate::web) fn find(&self, headers: &HeaderMap, purpose: Purpose) -> Option<String> {
        let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let named = sent.flat_map(Cookie::split_parse).filter_map(Result::ok).filter(|it| it.name() == purpose.name());
        named.take(LOOKED_AT).find_map(|cookie| self.verified(purpose, cookie.value()))
    }

    fn verified(&self, purpose: Purpose, value: &str) -> Option<String> {
        let (id, tag) = value.split_once('.')?;
        let tag = data_encoding::BASE64URL_NOPAD.decode(tag.as_bytes()).ok()?;
        let message = purpose.message(id);
        self.verify.iter().any(|key| hmac::verify(key, &message, &tag).is_ok()).then(|| id.to_owned())
    }
}

fn build(purpose: Purpose, value: String, lasts: Duration, secure: bool) -> Cookie<'static> {
    let seconds = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX);
    Cookie::build((purpose.name(), value))
        .path(purpose.path())
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(secure)
        .max_age(cookie::time::Duration::seconds(seconds))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(letter: char) -> Secret {
        Secret::new(letter.to_string().repeat(32))
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, value.parse().unwrap());
        headers
    }

    fn sent(cookie: &Cookie<'_>) -> HeaderMap {
        headers(&format!("{}={}", cookie.name(), cookie.value()))
    }

    #[test]
    fn a_cookie_of_ours_is_good_for_its_purpose_alone() {
        let keys = CookieKeys::new(&secret('a'), &[]);
        let cookie = keys.make(Purpose::Session, "abc", Duration::from_mins(1), true);
        assert_eq!(keys.find(&sent(&cookie), Purpose::Session).as_deref(), Some("abc"));
        let other = format!("{}={}", Purpose::LoginForm.name(), cookie.value());
        assert_eq!(keys.find(&headers(&other), Purpose::LoginForm), None);
    }

    #[test]
    fn a_forged_one_is_not() {
        let keys = CookieKeys::new(&secret('a'), &[]);
        let good = keys.make(Purpose::Session, "abc", Duration::from_mins(1), true).value().to_owned();
        let tag = good.split_once('.').unwrap().1.to_owned();
        let theirs = CookieKeys::new(&secret('b'), &[]).make(Purpose::Session, "abc", Duration::ZERO, true);
        for value in ["abc", "abc.", ".", "", &format!("abd.{tag}"), &format!("abc.{}", &tag[1..]), theirs.value()] {
            assert_eq!(keys.find(&headers(&format!("nixfleet_session={value}")), Purpose::Session), None, "{value}");
        }
        // One that is not ours does not hide one that is.
        let both = format!("nixfleet_session=abc.x; nixfleet_session={good}");
        assert_eq!(keys.find(&headers(&both), Purpose::Session).as_deref(), Some("abc"));
    }

    #[test]
    fn the_first_secret_signs_and_all_verify() {
        let old = CookieKeys::new(&secret('a'), &[]);
        let new = CookieKeys::new(&secret('b'), &[secret('a')]);
        let before = old.make(Purpose::Session, "x", Duration::from_secs(1), true);
        let after = new.make(Purpose::Session, "x", Duration::from_secs(1), true);
        assert!(new.find(&sent(&before), Purpose::Session).is_some());
        assert!(new.find(&sent(&after), Purpose::Session).is_some());
        assert!(old.find(&sent(&after), Purpose::Session).is_none());
    }

    #[test]
    fn it_is_hidden_from_scripts_and_other_sites() {
        let keys = CookieKeys::new(&secret('a'), &[]);
        let text = keys.make(Purpose::Session, "x", Duration::from_mins(1), true).to_string();
        for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/", "Max-Age=60"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!keys.make(Purpose::Session, "x", Duration::ZERO, false).to_string().contains("Secure"));
    }
}

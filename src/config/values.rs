//! How the values of settings read: durations, switches, origins, networks. A bad one is a sentence that says
//! what was expected; it never repeats the value, which may be a secret in the wrong place.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// `30`, `30s`, `5m`, `24h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration like 30, 30s, 5m or 24h".to_owned();
    let (number, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'0'..=b'9') => (text, 1),
        _ => return Err(expected()),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(expected());
    }
    let number: u64 = number.parse().map_err(|_| "the duration is too long".to_owned())?;
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds <= 10 * 365 * 86_400);
    match seconds {
        None => Err("the duration is too long".to_owned()),
        Some(0) => Err("the duration must not be zero".to_owned()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

/// `1`/`0`, `on`/`off`, `true`/`false`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" => Ok(true),
        "0" | "off" | "false" => Ok(false),
        _ => Err("expected 1 or 0, on or off, true or false".to_owned()),
    }
}

/// Whole days, at least one.
pub(super) fn days(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(days @ 1..=36_500) => Ok(days),
        _ => Err("expected a number of days, 1 to 36500".to_owned()),
    }
}

/// An address with a port.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address with a port, like 127.0.0.1:8000 or [::]:8000".to_owned())
}

/// Where magic packets go.
pub(super) fn broadcast(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address with a port, like 192.0.2.255:9".to_owned())
}

/// `owner/name`.
pub(super) fn repository(text: &str) -> Result<String, String> {
    let fine = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.len() <= 100
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match text.split_once('/') {
        Some((owner, name)) if fine(owner) && fine(name) => Ok(text.to_owned()),
        _ => Err("expected owner/name".to_owned()),
    }
}

/// An address of the web, without a login in it and without slashes at its end.
pub(super) fn url(text: &str) -> Result<String, String> {
    let expected = || "expected an address that begins with https:// or http://".to_owned();
    let uri: hyper::Uri = text.parse().map_err(|_| expected())?;
    let fine = matches!(uri.scheme_str(), Some("https" | "http"));
    match uri.authority() {
        Some(authority) if fine && authority.as_str().contains('@') => {
            Err("must not hold a login: addresses are shown and logged".to_owned())
        }
        Some(authority) if fine && !authority.host().is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(expected()),
    }
}

/// Whether what is sent to this address crosses a network in the clear.
pub(super) fn is_exposed(url: &str) -> bool {
    let Ok(uri) = url.parse::<hyper::Uri>() else { return true };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() != Some("https") && !loopback
}

/// Scheme, host and port: what a browser sends as `Origin`. The port of the scheme itself is left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    https: bool,
    authority: String,
}

impl Origin {
    /// From a scheme and what a `Host` header says.
    pub fn new(https: bool, authority: &str) -> Self {
        let authority = authority.to_ascii_lowercase();
        let default = if https { ":443" } else { ":80" };
        let authority = authority.strip_suffix(default).unwrap_or(&authority).to_owned();
        Self { https, authority }
    }

    /// Whether it is an https origin.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.authority)
    }
}

/// The text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an address like https://fleet.example.org, without a path")]
pub struct NoOrigin;

impl FromStr for Origin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let (scheme, rest) = text.split_once("://").ok_or(NoOrigin)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(NoOrigin),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if !is_authority(authority) {
            return Err(NoOrigin);
        }
        Ok(Self::new(https, authority))
    }
}

/// Host, perhaps with a port; nothing else.
pub(crate) fn is_authority(text: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if text.is_empty() || text.len() > 300 || !text.bytes().all(fine) {
        return false;
    }
    text.parse::<hyper::http::uri::Authority>().is_ok()
}

/// An address, or a network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address is of this network. An IPv4 address inside an IPv6 one counts as the IPv4 address.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - self.prefix)).unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - self.prefix)).unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected addresses or networks like 10.0.0.1 or 10.0.0.0/8".to_owned();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse::<IpAddr>().map_err(|_| expected())?.to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(expected)?,
        };
        Ok(Self { address, prefix })
    }
}

/// The parts of a list by commas, without empty ones.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("30", Some(30)),
            ("30s", Some(30)),
            ("5m", Some(300)),
            ("24h", Some(86_400)),
            ("0", None),
            ("0s", None),
            ("", None),
            ("s", None),
            ("-5", None),
            ("1.5h", None),
            ("5 m", None),
            ("5d", None),
            ("+5", None),
            ("99999999999999999999", None),
            ("9999999999999999h", None),
            ("ä", None),
        ] {
            assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn origins() {
        for (text, origin) in [
            ("https://fleet.example.org", Some("https://fleet.example.org")),
            ("https://Fleet.example.org:443/", Some("https://fleet.example.org")),
            ("http://localhost:8000", Some("http://localhost:8000")),
            ("HTTP://[::1]:80", Some("http://[::1]")),
            ("https://a/b", None),
            ("https://a@b", None),
            ("ftp://a", None),
            ("fleet.example.org", None),
            ("null", None),
            ("https://", None),
        ] {
            assert_eq!(text.parse::<Origin>().ok().map(|origin| origin.to_string()).as_deref(), origin, "{text:?}");
        }
    }

    #[test]
    fn addresses_of_the_web() {
        for (text, read, exposed) in [
            ("https://api.example.org/v3/", Some("https://api.example.org/v3"), false),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080"), false),
            ("http://[::1]:8080", Some("http://[::1]:8080"), false),
            ("http://localhost/x", Some("http://localhost/x"), false),
            ("http://api.example.org", Some("http://api.example.org"), true),
            ("api.example.org", None, true),
            ("ftp://a", None, true),
            ("https://me:s3cret@a", None, false),
            ("", None, true),
        ] {
            assert_eq!(url(text).ok().as_deref(), read, "{text}");
            assert_eq!(is_exposed(text), exposed, "{text}");
        }
        for (text, good) in
            [("me/c", true), ("me/c.nix", true), ("me", false), ("me/c/d", false), ("me/../x", false), ("m e/c", false)]
        {
            assert_eq!(repository(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn networks() {
        for (network, address, holds) in [
            ("10.0.0.0/8", "10.200.1.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "::1", true),
            ("0.0.0.0/0", "::1", false),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.holds(address.parse().unwrap()), holds, "{network:?} {address}");
        }
        for bad in ["", "10.0.0.0/33", "a", "10.0.0.0/", "::/129", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }
}

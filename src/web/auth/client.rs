//! Who is at the other end: the address that limits count, the scheme and the name that the browser itself uses.
//! `X-Forwarded-*` counts only where the peer is a trusted proxy.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap};

use crate::config::values::is_authority;
use crate::config::{Network, Origin};

/// The other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) struct Peer {
    /// Its address.
    pub(in crate::web) address: IpAddr,
    /// It speaks TLS with us.
    pub(in crate::web) tls: bool,
}

/// The client, perhaps behind a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) struct Client {
    /// Its address.
    pub(in crate::web) address: IpAddr,
    /// Scheme and host as the client itself uses them; none without a usable `Host`.
    pub(in crate::web) origin: Option<Origin>,
    /// It speaks https.
    pub(in crate::web) https: bool,
}

impl Client {
    /// Of a request.
    pub(in crate::web) fn of(peer: Peer, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let proxy = is_trusted(peer.address, trusted);
        let forwarded = |name: &str| if proxy { last(headers, name) } else { None };
        let https = peer.tls || forwarded("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        let host = forwarded("x-forwarded-host")
            .or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()))
            .filter(|host| is_authority(host));
        let address = if proxy { forwarded_for(peer.address, headers, trusted) } else { peer.address };
        Self { address: address.to_canonical(), origin: host.map(|host| Origin::new(https, host)), https }
    }

    /// Whether cookies must say `Secure`: always, unless the browser itself speaks plain http to a loopback name.
    pub(in crate::web) fn wants_secure(&self) -> bool {
        self.https || !self.origin.as_ref().is_some_and(|origin| is_loopback_name(origin.authority()))
    }
}

/// Whether `X-Forwarded-*` from this address counts.
pub(in crate::web) fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.holds(address))
}

/// The last value of a header that is a list: the one that the nearest proxy added.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim).filter(|text| !text.is_empty())
}

/// From the right, the first address that is no trusted proxy. What stands left of it anyone may have written.
fn forwarded_for(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let mut address = peer;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        let Ok(value) = value.to_str() else { return address };
        for part in value.rsplit(',') {
            let Some(hop) = hop(part.trim()) else { return address };
            address = hop;
            if !is_trusted(address, trusted) {
                return address;
            }
        }
    }
    address
}

/// An address, perhaps with a port.
fn hop(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
}

fn is_loopback_name(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) | None => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn client(peer: &str, given: &[(&'static str, &str)]) -> Client {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        Client::of(Peer { address: peer.parse().unwrap(), tls: false }, &headers(given), &trusted)
    }

    #[test]
    fn forwarded_headers_count_from_trusted_proxies_alone() {
        for (peer, forwarded, address) in [
            ("192.0.2.1", "203.0.113.7", "192.0.2.1"),
            ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "1.1.1.1, 203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "junk", "10.0.0.1"),
            ("10.0.0.1", "[2001:db8::1]:99", "2001:db8::1"),
            ("10.0.0.1", "", "10.0.0.1"),
        ] {
            let found = client(peer, &[("x-forwarded-for", forwarded)]).address;
            assert_eq!(found, address.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
        let two = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(client("10.0.0.1", &two).address.to_string(), "203.0.113.7");
        assert!(!client("192.0.2.1", &[("x-forwarded-proto", "https")]).https);
        assert!(client("10.0.0.1", &[("x-forwarded-proto", "https")]).https);
    }

    #[test]
    fn the_origin_is_the_one_that_the_browser_uses() {
        let proxied =
            [("host", "127.0.0.1:8000"), ("x-forwarded-host", "fleet.example.org"), ("x-forwarded-proto", "https")];
        let origin = |peer, given: &[_]| client(peer, given).origin.map(|origin| origin.to_string());
        assert_eq!(origin("10.0.0.1", &proxied).as_deref(), Some("https://fleet.example.org"));
        assert_eq!(origin("192.0.2.1", &proxied).as_deref(), Some("http://127.0.0.1:8000"));
        assert_eq!(origin("192.0.2.1", &[]), None);
        assert_eq!(origin("192.0.2.1", &[("host", "a b")]), None);
    }

    #[test]
    fn cookies_are_secure_unless_it_is_plain_http_to_a_loopback_name() {
        for (host, secure) in [
            ("localhost:8000", false),
            ("fleet.localhost", false),
            ("127.0.0.1:8000", false),
            ("[::1]:8000", false),
            ("[::1]", false),
            ("fleet.example.org", true),
            ("192.0.2.1:8000", true),
            ("localhost.example.org", true),
        ] {
            assert_eq!(client("127.0.0.1", &[("host", host)]).wants_secure(), secure, "{host}");
        }
        let proxied = [("host", "localhost:8000"), ("x-forwarded-proto", "https")];
        assert!(client("10.0.0.1", &proxied).wants_secure());
        assert!(client("127.0.0.1", &[]).wants_secure());
    }
}

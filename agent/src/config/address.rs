//! Where the dashboard is: a `ws://` or `wss://` URL, taken apart once.

use std::fmt;
use std::net::IpAddr;

use tokio_tungstenite::tungstenite::http::Uri;

/// The dashboard's WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Name or number of the host, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    uri: Uri,
}

impl Address {
    /// Reads a URL. Plain `ws://` is taken for loopback, or when `insecure` says that the operator knows.
    pub fn parse(text: &str, insecure: bool) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            Some(other) => return Err(format!("must begin with wss:// (or ws://), not {other}://")),
            None => return Err("must begin with wss://".into()),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must not hold a user name or password: the token goes into NIXFLEET_TOKEN_FILE".into());
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("names no host".into());
        }
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !tls && !loopback && !insecure {
            return Err("is ws:// to another machine, so the token could be read on the way: use wss://, \
                        or set NIXFLEET_ALLOW_INSECURE=1 if the way is safe"
                .into());
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port, uri })
    }

    /// The URL for the handshake.
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.uri, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_connections_are_for_loopback_or_for_those_who_say_so() {
        for (text, insecure, good) in [
            ("wss://fleet.example.org/ws", false, true),
            ("ws://127.0.0.1:8000/ws", false, true),
            ("ws://[::1]:8000/ws", false, true),
            ("ws://localhost/ws", false, true),
            ("ws://10.0.0.1/ws", false, false),
            ("ws://10.0.0.1/ws", true, true),
            ("ws://localhost.evil.org/ws", false, false),
            ("https://fleet.example.org/ws", false, false),
            ("wss://user:pass@fleet.example.org/ws", false, false),
            ("fleet.example.org", false, false),
            ("wss:///ws", false, false),
            ("", false, false),
        ] {
            assert_eq!(Address::parse(text, insecure).is_ok(), good, "{text}");
        }
        let address = Address::parse("ws://[::1]:8000/ws", false).unwrap();
        assert_eq!((address.host.as_str(), address.port, address.tls), ("::1", 8000, false));
        assert_eq!(Address::parse("wss://a/ws", false).unwrap().port, 443);
    }
}

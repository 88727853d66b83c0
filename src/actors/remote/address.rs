//! Where the configuration repository lies. What of it is secret is taken out at the door: the location is
//! shown, logged and given to git as an argument; the login goes to git through its environment, bound to
//! the server that it is for.

use std::fmt;
use std::path::PathBuf;

use data_encoding::BASE64;

/// A git repository's address, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    location: String,
    login: Option<Login>,
}

/// What the server is told to let us in.
#[derive(Clone, PartialEq, Eq)]
struct Login {
    /// `https://host:port/`: no other server gets it.
    scope: String,
    /// The `Authorization` header.
    header: String,
    /// The secrets themselves, to take them out of git's words.
    secrets: Vec<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("location", &self.location).finish_non_exhaustive()
    }
}

/// The address can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Nothing stands there.
    #[error("the address of the repository is empty")]
    Empty,
    /// Control characters or a leading hyphen.
    #[error("the address of the repository has characters that no address has")]
    Characters,
    /// A transport that we don't let git use.
    #[error("the address of the repository begins with {0:?}; known are https, http, ssh, git, file, and a path")]
    Transport(String),
    /// A relative path, and no working directory.
    #[error("the path of the repository can't be made absolute")]
    Relative,
}

impl Address {
    /// Reads a URL, `user@host:path`, or a path; a relative path is taken from the working directory.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BadAddress::Empty);
        }
        if text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(BadAddress::Characters);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::without_scheme(text);
        };
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (user_info, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let location = |user: &str| format!("{scheme}://{user}{host}{path}");
        match scheme.as_str() {
            "https" | "http" => Ok(Self {
                location: location(""),
                login: user_info.filter(|user| !user.is_empty()).map(|user| Login::basic(&scheme, host, user)),
            }),
            "ssh" => {
                // The user's name is part of the place; a password is of no use to ssh in batch mode.
                let user = user_info.map(|user| user.split(':').next().unwrap_or_default());
                Ok(Self { location: location(&user.map(|user| format!("{user}@")).unwrap_or_default()), login: None })
            }
            "git" | "file" => Ok(Self { location: location(""), login: None }),
            other => Err(BadAddress::Transport(other.chars().take(20).collect())),
        }
    }

    fn without_scheme(text: &str) -> Result<Self, BadAddress> {
        if let Some((helper, _)) = text.split_once("::") {
            return Err(BadAddress::Transport(helper.chars().take(20).collect()));
        }
        let scp_like = text.find(':').is_some_and(|colon| !text[..colon].contains('/'));
        if scp_like {
            return Ok(Self { location: text.to_owned(), login: None });
        }
        let path = std::path::absolute(PathBuf::from(text)).map_err(|_| BadAddress::Relative)?;
        Ok(Self { location: path.to_string_lossy().into_owned(), login: None })
    }

    /// The address without anything secret.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Settings for git that hold the login: never as an argument, and for this server alone.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        self.login
            .iter()
            .map(|login| (format!("http.{}.extraHeader", login.scope), format!("Authorization: {}", login.header)))
            .collect()
    }

    /// The text without our secrets, whoever put them there.
    pub(super) fn scrubbed(&self, text: &str) -> String {
        let secrets = self.login.iter().flat_map(|login| &login.secrets);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

impl Login {
    fn basic(scheme: &str, host: &str, user_info: &str) -> Self {
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let plain = format!("{}:{}", percent_decoded(user), percent_decoded(password));
        let encoded = BASE64.encode(plain.as_bytes());
        // Whichever of the two is the token: `https://TOKEN@host` is as common as `https://user:TOKEN@host`.
        let secret = if password.is_empty() { user } else { password };
        let secrets = [user_info.to_owned(), secret.to_owned(), percent_decoded(secret), encoded.clone()];
        Self {
            scope: format!("{scheme}://{host}/"),
            header: format!("Basic {encoded}"),
            secrets: secrets.into_iter().filter(|secret| secret.len() > 3).collect(),
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = (*first == b'%').then(|| tail.get(..2).and_then(hex_byte)).flatten();
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_stays_out_of_the_location() {
        for (given, shown, settings) in [
            ("https://example.org/c.git", "https://example.org/c.git", 0),
            ("https://me:s3cret%21@example.org:8443/c.git", "https://example.org:8443/c.git", 1),
            ("HTTPS://ghp_token@example.org/c", "https://example.org/c", 1),
            ("ssh://git:pass@example.org/c", "ssh://git@example.org/c", 0),
            ("git@example.org:me/c.git", "git@example.org:me/c.git", 0),
            ("file:///srv/c.git", "file:///srv/c.git", 0),
            ("/srv/c.git", "/srv/c.git", 0),
        ] {
            let address = Address::parse(given).unwrap();
            assert_eq!(address.location(), shown, "{given}");
            assert_eq!(address.settings().len(), settings, "{given}");
            let debug = format!("{address:?}");
            for secret in ["s3cret", "ghp_token", "pass"] {
                assert!(!debug.contains(secret) && !address.location().contains(secret), "{given}");
            }
        }
    }

    #[test]
    fn the_login_is_bound_to_its_server_and_taken_out_of_words() {
        let address = Address::parse("https://me:s3cret%21@example.org:8443/c.git").unwrap();
        let settings = address.settings();
        assert_eq!(settings[0].0, "http.https://example.org:8443/.extraHeader");
        assert_eq!(settings[0].1, format!("Authorization: Basic {}", BASE64.encode(b"me:s3cret!")));
        assert_eq!(address.scrubbed("no s3cret! and no s3cret%21"), "no *** and no ***");
        assert!(!address.scrubbed(&settings[0].1).contains(&BASE64.encode(b"me:s3cret!")));
    }

    #[test]
    fn strange_addresses_are_refused() {
        for bad in ["", "  ", "--upload-pack=x", "ext::sh -c x", "foo::bar", "ftp://a/b", "a\nb"] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Address::parse("some/where").unwrap().location().starts_with('/'));
    }
}

//! The ids of the product: parsed once, at the door, into types that nothing else can be mistaken for.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smol_str::SmolStr;
use uuid::Uuid;

/// Why a text is no id of the kind asked for. Says the kind and the text, cut to a length fit for a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad {kind} {text:?}: {rule}")]
pub struct BadId {
    /// What it should have been, in the product's words.
    pub kind: &'static str,
    /// What was given, at most 80 characters of it.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl BadId {
    fn new(kind: &'static str, text: &str, rule: &'static str) -> Self {
        Self { kind, text: text.chars().take(80).collect(), rule }
    }
}

/// A text in lower case: copied once.
fn folded<T: From<String> + for<'a> From<&'a str>>(text: &str) -> T {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

/// Reads an id from its text where that lies, without a copy of its own.
struct Parsed<T>(PhantomData<T>);

impl<T: FromStr<Err = BadId>> de::Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Parsed(PhantomData))
            }
        }
    };
}

/// A host's name, folded to lower case: `[a-z0-9]` first, then `[a-z0-9._-]`, at most 63 characters.
/// Cheap to clone. Safe as a file name and in a URL. Up to 23 characters lie in place: who looks a host up among
/// thousands reads no memory but the map's own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(SmolStr);

text_id!(HostId);

impl FromStr for HostId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = |rule| Err(BadId::new("host name", text, rule));
        if text.is_empty() || text.len() > 63 {
            return bad("must have 1 to 63 characters");
        }
        if !text.as_bytes()[0].is_ascii_alphanumeric() {
            return bad("must begin with a letter a-z or a digit");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return bad("may hold only a-z, 0-9, dot, underscore and hyphen");
        }
        Ok(Self(folded(text)))
    }
}

/// A git commit: hex, 7 to 64 digits, lower case. Old agents send the first 7 only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(Arc<str>);

text_id!(Commit);

impl FromStr for Commit {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if !(7..=64).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadId::new("commit", text, "must be 7 to 64 hex digits"));
        }
        Ok(Self(folded(text)))
    }
}

impl Commit {
    /// Whether both name the same commit, where one may be an abbreviation of the other.
    pub fn is(&self, other: &Self) -> bool {
        let shorter = self.0.len().min(other.0.len());
        self.0[..shorter] == other.0[..shorter]
    }

    /// The first seven digits, as people read it.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

/// SHA-256 of a `flake.lock` file (or of a binary), 64 hex digits, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockHash(Arc<str>);

text_id!(LockHash);

impl FromStr for LockHash {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadId::new("SHA-256", text, "must be 64 hex digits"));
        }
        Ok(Self(folded(text)))
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// From a UUID that was made elsewhere.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                Uuid::try_parse(text).map(Self).map_err(|_| BadId::new($kind, text, "must be a UUID"))
            }
        }
    };
}

uuid_id!(
    /// A command's id: a UUIDv7, so ids sort by the time of their making.
    CommandId, "command id"
);
uuid_id!(
    /// A pipeline run's id: a UUIDv7.
    RunId, "run id"
);
uuid_id!(
    /// An agent's state directory, named once when it was made. Another journal means that what an agent knew is lost.
    JournalId, "journal id"
);
uuid_id!(
    /// One process of an agent.
    InstanceId, "instance id"
);
uuid_id!(
    /// The store that state versions belong to. Another epoch means that all of a client's state is stale.
    Epoch, "epoch"
);

/// One boot of a host, as its kernel names it. Opaque: only equality counts.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

/// A state version: a counter that every change of the dashboard's state advances by one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The one that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An event's number: a text in JSON, as all ids; big-endian in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct EventId(pub u64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for EventId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        text.parse().map(Self).map_err(|_| BadId::new("event id", text, "must be a whole number"))
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(&self.0) } else { serializer.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_folded_or_refused() {
        for (given, folded) in [
            ("HSB0", Some("hsb0")),
            ("a", Some("a")),
            ("0.b_c-d", Some("0.b_c-d")),
            ("-a", None),
            (".", None),
            ("..", None),
            ("", None),
            ("a b", None),
            ("ä", None),
            ("a/b", None),
            ("a\0", None),
        ] {
            assert_eq!(given.parse::<HostId>().ok().as_ref().map(HostId::as_str), folded, "{given:?}");
        }
        assert!("a".repeat(63).parse::<HostId>().is_ok());
        assert!("a".repeat(64).parse::<HostId>().is_err());
    }

    #[test]
    fn an_abbreviated_commit_is_the_same_commit() {
        let full: Commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        let short: Commit = "0123456".parse().unwrap();
        assert!(full.is(&short) && short.is(&full) && full.is(&full));
        assert!(!full.is(&"0123457".parse().unwrap()));
        assert!("012345".parse::<Commit>().is_err());
        assert!("012345g".parse::<Commit>().is_err());
    }

    #[test]
    fn an_event_id_is_a_text_in_json() {
        assert_eq!(serde_json::to_string(&EventId(7)).unwrap(), "\"7\"");
        assert_eq!(serde_json::from_str::<EventId>("\"7\"").unwrap(), EventId(7));
    }
}

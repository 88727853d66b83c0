//! What lies on disk, by version. Nothing outside of this folder decides what a byte means: a record is
//! stored as a frozen struct of its own, so a change in the model is a compile error here and not a silent
//! change on disk.
//!
//! **A struct of the model changed and this folder does not compile, or its golden test fails:**
//! - the version was never released: change the frozen struct, and record the golden bytes again
//!   (the test prints them);
//! - it was released: leave it. Copy it to the next version (`v2.rs`), change the copy, give [`Stored::NEWEST`]
//!   of its kind one more, read the old one in [`Stored::decode`] by a step old → new, keep the old golden test.
//!   A new kind of record, or a new tree, needs nothing of this; raise [`SCHEMA`] with every new version.
//!
//! Old records are read in their version and written in the newest when they are next written.

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

use super::record::Kind;

pub(super) mod frozen;
pub(super) mod v1;

pub(super) use frozen::Frozen;

/// Raised when anything on disk changes in a way that an older NixFleet must not touch.
pub(super) const SCHEMA: u64 = 1;

/// A record as it is stored.
pub(super) trait Stored: Frozen + Serialize + DeserializeOwned {
    /// What it is.
    const KIND: Kind;
    /// The newest version; all from 1 to this can be read.
    const NEWEST: u16;

    /// Reads a payload of one of the known versions.
    fn decode(version: u16, payload: &[u8]) -> Result<Self, bincode::Error>;
}

/// The payload of a record, in its newest version.
pub(super) fn encode<S: Stored>(live: &S::Live) -> Result<Vec<u8>, bincode::Error> {
    bincode::DefaultOptions::new().serialize(&S::freeze(live))
}

fn plain<S: Stored>(payload: &[u8]) -> Result<S, bincode::Error> {
    bincode::DefaultOptions::new().deserialize(payload)
}

macro_rules! only_v1 {
    ($($stored:ty = $kind:ident),* $(,)?) => {$(
        impl Stored for $stored {
            const KIND: Kind = Kind::$kind;
            const NEWEST: u16 = 1;

            fn decode(_version: u16, payload: &[u8]) -> Result<Self, bincode::Error> {
                plain(payload)
            }
        }
    )*};
}

only_v1! {
    u64 = Number,
    nixfleet_protocol::Epoch = Epoch,
    v1::HostRecord = Host,
    v1::Command = Command,
    v1::RemoteState = Remote,
    Vec<u8> = Setting,
    v1::NewEvent = Event,
    v1::LoginSession = Session,
    v1::Token = Token,
    v1::Waiting = Notification,
    v1::RunRecord = Run,
    v1::RunHost = RunHost,
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

//! What is in the frames to subscribers, borrowed: written as JSON once, straight from the state.

use nixfleet_protocol::Version;
use nixfleet_protocol::browser::{Change, Fragment, State};
use serde::Serialize;

/// Of `init` and `full_state`.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Whole {
    Json { state: State },
    Html { fragments: Vec<Fragment> },
}

/// Of `delta`.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Delta<'a> {
    Json { change: &'a Change },
    Html { fragments: Vec<Fragment> },
}

/// Of `deltas`.
#[derive(Serialize)]
pub(super) struct Deltas<'a> {
    pub(super) deltas: Vec<Missed<'a>>,
}

/// A delta that a subscriber missed.
#[derive(Serialize)]
pub(super) struct Missed<'a> {
    pub(super) version: Version,
    #[serde(flatten)]
    pub(super) delta: Delta<'a>,
}

/// Of `sync`.
#[derive(Serialize)]
pub(super) struct Nothing {}

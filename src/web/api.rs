//! The API: what programs and the page's own script call. One room for each kind of object.

pub(super) mod commands;
pub(super) mod events;
pub(super) mod hosts;
pub(super) mod lines;
pub(super) mod log;
pub(super) mod notifications;
pub(super) mod ops;
pub(super) mod runs;
pub(super) mod sessions;
pub(super) mod status;
pub(super) mod tokens;
pub(super) mod webhook;

use serde::de::DeserializeOwned;

use super::Query;
use super::problem::Refused;

/// Entries of a list that come when nobody says how many.
const LIMIT: usize = 50;
/// The most that come at once.
const MOST: usize = 500;

/// The body as what it should be; an empty one is an empty object.
fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    let bytes: &[u8] = if bytes.iter().all(u8::is_ascii_whitespace) { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| Refused::bad(format!("The body is not as expected: {error}.")))
}

/// `?limit=`.
fn limit(query: &Query) -> Result<usize, Refused> {
    match query.read::<usize>("limit")? {
        None => Ok(LIMIT),
        Some(0) => Err(Refused::bad("limit: at least 1.")),
        Some(limit) => Ok(limit.min(MOST)),
    }
}

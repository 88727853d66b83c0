//! The actors. One actor = one file; its private rooms lie in a folder of its name.
//!
//! ```text
//! root ─┬─ store            serialises all writes to sled
//!       ├─ sync             the fleet's state in memory, versions, deltas, fan-out
//!       ├─ access           login sessions, tokens, login limits, TOTP steps
//!       ├─ remote           the configuration repository's desired state
//!       ├─ hosts ──── host  one for each host: facts, its running command, its lights
//!       ├─ runs ───── run   one for each pipeline run that is not over
//!       ├─ links            accepts agents; owns the two halves of each socket
//!       ├─ sessions ─ session   one for each browser tab
//!       ├─ notifier         tells people: ntfy, Discord, webhooks, mail
//!       └─ janitor          retention, log compression, compaction
//! ```

pub mod access;
pub mod clock;
pub mod committer;
mod death;
pub mod handles;
pub mod host;
pub mod hosts;
pub mod janitor;
pub mod links;
pub mod notifier;
pub mod owned;
pub mod remote;
pub mod root;
pub mod runs;
pub mod session;
pub mod sessions;
pub mod slot;
mod socket;
pub mod store;
pub mod sync;

//! The actors. One actor = one file; its private rooms lie in a folder of its name.
//!
//! ```text
//! root ─┬─ store            serialises all writes to sled
//!       ├─ sync             the fleet's state in memory, versions, deltas, fan-out
//!       ├─ access           login sessions, tokens, login limits, TOTP steps
//!       ├─ remote           the configuration repository's desired state
//!       ├─ hosts ──── host  one for each host: facts, its running command, its lights
//!       ├─ links            accepts agents; owns the two halves of each socket
//!       └─ sessions ─ session   one for each browser tab
//! ```

pub mod access;
pub mod clock;
pub mod committer;
pub mod handles;
pub mod host;
pub mod hosts;
pub mod links;
pub mod remote;
pub mod session;
pub mod sessions;
pub mod slot;
pub mod store;
pub mod sync;

/// Stands in for `root.rs` until that is wired; replaced at the merge.
pub mod root {
    use super::slot::Slot;
    use ractor::RpcReplyPort;
    use std::time::Duration;

    /// How everything is.
    #[derive(Clone, Debug, serde::Serialize)]
    pub struct Readiness {
        /// Whether everything makes progress.
        pub ready: bool,
        /// What does not.
        pub problems: Vec<String>,
        /// Hosts whose actor keeps failing.
        pub quarantined: Vec<String>,
    }

    /// What the root answers to.
    #[derive(Debug)]
    pub enum Msg {
        /// Does everything make progress?
        Ready {
            /// Where to.
            reply: RpcReplyPort<Readiness>,
        },
    }

    /// The root, for those who use it.
    #[derive(Clone, Debug)]
    pub struct RootHandle {
        slot: Slot<Msg>,
    }

    impl RootHandle {
        /// Over the place where the root sits.
        pub fn new(slot: Slot<Msg>) -> Self {
            Self { slot }
        }

        /// Whether everything makes progress.
        pub async fn ready(&self) -> Readiness {
            let asked = self.slot.call(|reply| Msg::Ready { reply }, Duration::from_secs(4)).await;
            let not = |error: super::slot::Unanswered| Readiness {
                ready: false,
                problems: vec![error.to_string()],
                quarantined: Vec::new(),
            };
            asked.unwrap_or_else(not)
        }
    }
}

//! Pre-checks: whether an op may start on a host now, and if not, why and what to do instead.

use nixfleet_protocol::CommandId;
use nixfleet_protocol::api::Action;

/// Why an op was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason as a word: `host_offline`, `host_busy`, `remote_unavailable`, `already_current` …
    pub code: &'static str,
    /// One sentence: what is in the way, and what to do.
    pub message: String,
    /// What could be done instead.
    pub offer: Option<Action>,
    /// The command that is in the way.
    pub command_id: Option<CommandId>,
}

/// What became of the TOTP code that came with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotpProof {
    /// There was none.
    NotGiven,
    /// It is good, and used up now.
    Valid,
    /// It is wrong.
    Invalid,
    /// No TOTP secret is configured.
    NotConfigured,
}

//! The kinds of page: tabs of one kind are sent the same bytes.

use nixfleet_protocol::{CommandId, HostId, RunId};

/// The kinds of page that are live. Fragments are made once for each that is open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageKind {
    /// `/`
    Fleet,
    /// `/hosts/{host}`
    Host(HostId),
    /// `/events`
    Events,
    /// `/commands/{id}`
    Command(CommandId),
    /// `/runs/{id}`
    Run(RunId),
}

impl PageKind {
    /// From the `page` of `/ws?view=html&page=…`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            None if text == "fleet" => Some(Self::Fleet),
            None if text == "events" => Some(Self::Events),
            Some(("host", id)) => id.parse().ok().map(Self::Host),
            Some(("command", id)) => id.parse().ok().map(Self::Command),
            Some(("run", id)) => id.parse().ok().map(Self::Run),
            _ => None,
        }
    }
}

impl std::fmt::Display for PageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Host(id) => write!(f, "host/{id}"),
            Self::Events => f.write_str("events"),
            Self::Command(id) => write!(f, "command/{id}"),
            Self::Run(id) => write!(f, "run/{id}"),
        }
    }
}

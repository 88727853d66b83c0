//! The kinds of page: tabs of one kind are sent the same bytes.

use nixfleet_model::event::EventFilter;
use nixfleet_protocol::{CommandId, HostId, RunId, Time};

/// The kinds of page that are live. Fragments are made once for each that is open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageKind {
    /// `/`
    Fleet,
    /// `/hosts/{host}`
    Host(HostId),
    /// `/events`
    Events,
    /// `/events?…`: those that a filter takes.
    Search(Box<EventFilter>),
    /// `/settings`
    Settings,
    /// `/commands/{id}`
    Command(CommandId),
    /// `/runs/{id}`
    Run(RunId),
}

impl PageKind {
    /// The events that a filter takes.
    pub fn search(filter: EventFilter) -> Self {
        if filter.is_empty() { Self::Events } else { Self::Search(Box::new(filter)) }
    }

    /// From the `page` of `/ws?view=html&page=…`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(parameters) = text.strip_prefix("events?") {
            let pairs: Vec<_> = form_urlencoded::parse(parameters.as_bytes()).collect();
            let get = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
            return EventFilter::read(get, Time::now()).ok().map(Self::search);
        }
        match text.split_once('/') {
            None if text == "fleet" => Some(Self::Fleet),
            None if text == "settings" => Some(Self::Settings),
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
            Self::Search(filter) => {
                let mut text = form_urlencoded::Serializer::new("events?".to_owned());
                // What is behind the question mark begins behind it.
                let text = text.extend_pairs(filter.parameters()).finish();
                f.write_str(&text.replacen("?&", "?", 1))
            }
            Self::Settings => f.write_str("settings"),
            Self::Command(id) => write!(f, "command/{id}"),
            Self::Run(id) => write!(f, "run/{id}"),
        }
    }
}

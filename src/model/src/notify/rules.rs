//! What a channel takes: by level, by kind, by host and tag. A rule that names nothing lets everything through.

use nixfleet_protocol::api::Level;

use super::{Kind, News};
use crate::glob::glob;

/// What a channel takes. All four have to agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Kinds; empty: all.
    pub kinds: Vec<Kind>,
    /// Levels; empty: all.
    pub levels: Vec<Level>,
    /// Names of hosts with `*` and `?`, in lower case; empty: all.
    pub hosts: Vec<String>,
    /// Tags, of which a host has one; empty: all.
    pub tags: Vec<String>,
}

impl Rules {
    /// Whether the channel takes this. Rules about hosts concern what is about hosts alone: that the remote can't be
    /// read, or that an update waits, goes to everyone who wants that kind.
    pub fn take(&self, news: &News) -> bool {
        let kind = self.kinds.is_empty() || self.kinds.contains(&news.notice.kind);
        let level = self.levels.is_empty() || self.levels.contains(&news.notice.level);
        let host = news.hosts.is_empty()
            || news.hosts.iter().any(|(host, tags)| {
                let named = self.hosts.is_empty() || self.hosts.iter().any(|pattern| glob(pattern, host.as_str()));
                let tagged = self.tags.is_empty() || tags.iter().any(|tag| self.tags.contains(tag));
                named && tagged
            });
        kind && level && host
    }
}

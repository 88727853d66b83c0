//! The trees by name, and the keys in them. The only list of trees.
//!
//! Keys sort as people read: commands by UUIDv7 (so by time), events by number, a host's commands behind the
//! host's name. Index trees (`commands_by_host`, `commands_open`) have empty values.

use nixfleet_protocol::{CommandId, EventId, HostId, RunId};
use uuid::Uuid;

use super::record::{BadRecord, Place, Unreadable};

/// A tree of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Tree {
    /// Schema, epoch, state version mark, counts.
    Meta,
    /// Hosts by name.
    Hosts,
    /// Commands by id.
    Commands,
    /// Index: host, 0, command id.
    CommandsByHost,
    /// Index: ids of the commands that are not over.
    CommandsOpen,
    /// The remote's last good answer.
    Remote,
    /// Settings by name.
    Settings,
    /// Events by number.
    Events,
    /// Login sessions by the hash of their id.
    Sessions,
    /// Tokens by their hash.
    Tokens,
    /// What did not fit into one value: tag of the tree, key, number of the part.
    Parts,
    /// Runs of pipelines by id.
    Runs,
    /// Hosts of runs: run id, host.
    RunHosts,
    /// Notifications that were not taken yet, by number.
    Outbox,
}

impl Tree {
    /// All of them; the place in this list is the place in [`Trees`].
    pub(super) const ALL: [Self; 14] = [
        Self::Meta,
        Self::Hosts,
        Self::Commands,
        Self::CommandsByHost,
        Self::CommandsOpen,
        Self::Remote,
        Self::Settings,
        Self::Events,
        Self::Sessions,
        Self::Tokens,
        Self::Parts,
        Self::Runs,
        Self::RunHosts,
        Self::Outbox,
    ];

    /// Its name in sled. Never changes.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Hosts => "hosts",
            Self::Commands => "commands",
            Self::CommandsByHost => "commands_by_host",
            Self::CommandsOpen => "commands_open",
            Self::Remote => "remote",
            Self::Settings => "settings",
            Self::Events => "events",
            Self::Sessions => "sessions",
            Self::Tokens => "tokens",
            Self::Parts => "parts",
            Self::Runs => "runs",
            Self::RunHosts => "run_hosts",
            Self::Outbox => "outbox",
        }
    }

    /// Its tag in the keys of parts and in checksums. Never changes.
    pub(super) const fn tag(self) -> u8 {
        match self {
            Self::Meta => 1,
            Self::Hosts => 2,
            Self::Commands => 3,
            Self::CommandsByHost => 4,
            Self::CommandsOpen => 5,
            Self::Remote => 6,
            Self::Settings => 7,
            Self::Events => 8,
            Self::Sessions => 9,
            Self::Tokens => 10,
            Self::Parts => 11,
            Self::Runs => 12,
            Self::RunHosts => 13,
            Self::Outbox => 14,
        }
    }

    /// Whether its values are records (the others are indexes, and the parts of records).
    pub(super) const fn has_records(self) -> bool {
        match self {
            Self::Meta
            | Self::Hosts
            | Self::Commands
            | Self::Remote
            | Self::Settings
            | Self::Events
            | Self::Sessions
            | Self::Tokens
            | Self::Runs
            | Self::RunHosts
            | Self::Outbox => true,
            Self::CommandsByHost | Self::CommandsOpen | Self::Parts => false,
        }
    }
}

/// sled, with its trees open. Whoever holds one holds the database open.
pub(super) struct Trees {
    db: sled::Db,
    trees: Vec<sled::Tree>,
}

impl Trees {
    /// Opens the trees, and makes those that are missing.
    pub(super) fn over(db: sled::Db) -> sled::Result<Self> {
        let trees = Tree::ALL.iter().map(|tree| db.open_tree(tree.name())).collect::<sled::Result<_>>()?;
        Ok(Self { db, trees })
    }

    /// The database itself.
    pub(super) fn db(&self) -> &sled::Db {
        &self.db
    }

    /// One of the trees.
    pub(super) fn at(&self, tree: Tree) -> &sled::Tree {
        // `over` opened one for each variant, and the variants are numbered in the order of `ALL`
        // (the test below), so the index is always there.
        &self.trees[tree as usize]
    }

    /// The value of a key.
    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> sled::Result<Option<sled::IVec>> {
        self.at(tree).get(key)
    }
}

/// Key of a host.
pub(super) fn host(id: &HostId) -> Vec<u8> {
    id.as_str().as_bytes().to_vec()
}

/// The host of a key.
pub(super) fn name_of_host(key: &[u8]) -> Result<HostId, Unreadable> {
    let name = std::str::from_utf8(key).ok().and_then(|name| name.parse().ok());
    name.ok_or_else(|| BadRecord::damaged(Place { tree: Tree::Hosts, key }, "its key is no name of a host").into())
}

/// Key of a command: its 16 bytes, which sort by time.
pub(super) fn command(id: CommandId) -> Vec<u8> {
    id.uuid().as_bytes().to_vec()
}

/// What all keys of a host's commands begin with. No host name holds a zero byte.
pub(super) fn commands_of(host: &HostId) -> Vec<u8> {
    let mut key = host.as_str().as_bytes().to_vec();
    key.push(0);
    key
}

/// Key of a command in its host's list.
pub(super) fn command_of(host: &HostId, id: CommandId) -> Vec<u8> {
    let mut key = commands_of(host);
    key.extend_from_slice(id.uuid().as_bytes());
    key
}

/// The host that a key of `commands_by_host` begins with.
pub(super) fn host_in(key: &[u8]) -> Option<HostId> {
    let end = key.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&key[..end]).ok()?.parse().ok()
}

/// The command that a key of `commands`, `commands_open` or `commands_by_host` ends with.
pub(super) fn command_in(key: &[u8]) -> Option<CommandId> {
    let (_, id) = key.split_last_chunk::<16>()?;
    Some(CommandId::from_uuid(Uuid::from_bytes(*id)))
}

/// Key of a run: its 16 bytes, which sort by time.
pub(super) fn run(id: RunId) -> Vec<u8> {
    id.uuid().as_bytes().to_vec()
}

/// Key of a host of a run. All of a run's begin with the run's own key.
pub(super) fn run_host(id: RunId, host: &HostId) -> Vec<u8> {
    let mut key = run(id);
    key.extend_from_slice(host.as_str().as_bytes());
    key
}

/// The run that a key of `runs` or `run_hosts` begins with.
pub(super) fn run_in(key: &[u8]) -> Option<RunId> {
    let (id, _) = key.split_first_chunk::<16>()?;
    Some(RunId::from_uuid(Uuid::from_bytes(*id)))
}

/// Key of an event.
pub(super) fn event(id: EventId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// The event that a key names.
pub(super) fn event_in(key: &[u8]) -> Option<EventId> {
    Some(EventId(u64::from_be_bytes(key.try_into().ok()?)))
}

/// Key of a notification.
pub(super) fn outbox(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The notification that a key names.
pub(super) fn outbox_in(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// Key of a part of a record.
pub(super) fn part(tree: Tree, key: &[u8], number: u16) -> Vec<u8> {
    let mut part = Vec::with_capacity(key.len() + 3);
    part.push(tree.tag());
    part.extend_from_slice(key);
    part.extend_from_slice(&number.to_be_bytes());
    part
}

/// Whose part it is, and which: tree, key, number.
pub(super) fn part_in(part: &[u8]) -> Option<(Tree, &[u8], u16)> {
    let (tag, rest) = part.split_first()?;
    let (key, number) = rest.split_last_chunk::<2>()?;
    let tree = Tree::ALL.into_iter().find(|tree| tree.tag() == *tag)?;
    Some((tree, key, u16::from_be_bytes(*number)))
}

/// A key as people read it in a message: text where it is text, else hex.
pub(super) fn show(key: &[u8]) -> String {
    if !key.is_empty() && key.iter().all(u8::is_ascii_graphic) {
        return String::from_utf8_lossy(key).into_owned();
    }
    if let Some(EventId(number)) = event_in(key) {
        return number.to_string();
    }
    match <[u8; 16]>::try_from(key) {
        Ok(id) => Uuid::from_bytes(id).to_string(),
        Err(_) => data_encoding::HEXLOWER.encode(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tree_has_its_place_its_name_and_its_tag() {
        for (place, tree) in Tree::ALL.into_iter().enumerate() {
            assert_eq!(tree as usize, place);
            for other in Tree::ALL.into_iter().filter(|other| *other != tree) {
                assert_ne!(tree.name(), other.name());
                assert_ne!(tree.tag(), other.tag());
            }
        }
    }

    #[test]
    fn events_sort_by_number_and_a_host_is_no_prefix_of_another() {
        assert!(event(EventId(255)) < event(EventId(256)));
        let id = CommandId::from_uuid(Uuid::from_u128(7));
        let (web, web1): (HostId, HostId) = ("web".parse().unwrap(), "web1".parse().unwrap());
        assert!(!command_of(&web1, id).starts_with(&commands_of(&web)));
        assert_eq!(command_in(&command_of(&web1, id)), Some(id));
        assert_eq!(show(b"hsb0"), "hsb0");
        assert_eq!(show(&event(EventId(7))), "7");
    }
}

//! The journal: one folder for each command under `<state dir>/commands/`, and the ids that ever ran.
//!
//! ```text
//! <state dir>/journal            the id of this state directory, made with it
//! <state dir>/ids                16 bytes for each command whose folder was deleted, for good
//! <state dir>/past               how each of these ended, a line of JSON, for good
//! <state dir>/commands/<id>/     command.json → started (locked while the runner lives) → output.log → result.json
//! ```
//!
//! The agent owns it; a runner owns the folder that it was given. Whatever dies when, the folder alone says how
//! things stand ([`entry`]). Invariants: a command is durable here before the dashboard hears `accepted`; an id
//! is in `ids` on disk before its folder goes; so no id ever runs twice.

pub mod entry;
pub mod known;
pub mod past;
pub mod retention;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nixfleet_protocol::{CommandId, JournalId, Time};
use tracing::warn;
use uuid::Uuid;

use crate::durable;
use crate::record::Order;
use entry::Entry;
use known::KnownIds;
use past::{Past, PastCommands};

/// The journal can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the journal in {path} can't be used")]
pub struct JournalError {
    /// Which file or folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl JournalError {
    /// For `map_err`: an error of this path.
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self { path, source }
    }
}

/// What a new command met.
#[derive(Debug)]
pub enum Admission {
    /// It is on disk now, and may be started.
    New(Entry),
    /// It was here before, and its folder is there: nothing is run.
    Known(Entry),
    /// It was here before, and its folder was deleted.
    Forgotten,
}

/// What the name of a folder begins with that is no command yet, and of one that is none any more.
const NEW: &str = ".new-";
const OLD: &str = ".old-";

/// Removes what is left of deleted commands. A runner that is root does it for an agent that may not: what root made
/// in a command's folder, only root can remove.
pub fn sweep_as_root(state_dir: &Path) -> io::Result<()> {
    sweep(&state_dir.join("commands"), &[OLD])
}

/// Removes all folders whose name begins so; the first error comes when all were tried.
fn sweep(commands: &Path, kinds: &[&str]) -> io::Result<()> {
    let mut swept = Ok(());
    for found in fs::read_dir(commands)? {
        let found = found?;
        let name = found.file_name();
        if kinds.iter().any(|kind| name.to_string_lossy().starts_with(kind)) {
            let removed = fs::remove_dir_all(found.path());
            swept = swept.and(removed);
        }
    }
    swept
}

/// The journal of one state directory.
#[derive(Debug)]
pub struct Journal {
    id: JournalId,
    commands: PathBuf,
    known: KnownIds,
    past: PastCommands,
}

impl Journal {
    /// Opens the journal, or makes it with a new id.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let commands = state_dir.join("commands");
        durable::private_dir(&commands).map_err(JournalError::at(&commands))?;
        let id = Self::identity(&state_dir.join("journal"))?;
        let known = KnownIds::open(&state_dir.join("ids")).map_err(JournalError::at(&state_dir.join("ids")))?;
        let past = PastCommands::open(&state_dir.join("past")).map_err(JournalError::at(&state_dir.join("past")))?;
        let journal = Self { id, commands, known, past };
        journal.sweep();
        Ok(journal)
    }

    /// The id of this state directory. A file that nobody can read is put aside, and this is another journal from now
    /// on: the dashboard then calls what is not named by it orphaned, which is true.
    fn identity(path: &Path) -> Result<JournalId, JournalError> {
        let unreadable = match fs::read_to_string(path) {
            Ok(text) => match text.trim().parse() {
                Ok(id) => return Ok(id),
                Err(error) => Some(io::Error::new(io::ErrorKind::InvalidData, error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(error),
        };
        if let Some(error) = unreadable {
            let aside = path.with_extension("unreadable");
            warn!(%error, aside = %aside.display(), "the journal's id can't be read: it is put aside and a new one made");
            fs::rename(path, &aside).map_err(JournalError::at(path))?;
        }
        let id = JournalId::from_uuid(Uuid::new_v4());
        durable::write(path, format!("{id}\n").as_bytes()).map_err(JournalError::at(path))?;
        Ok(id)
    }

    /// Removes folders that never became commands, or whose deletion was cut short. What a runner that was root left
    /// there may be beyond us: the next such runner removes it ([`sweep_as_root`]).
    fn sweep(&self) {
        if let Err(error) = sweep(&self.commands, &[NEW, OLD]) {
            warn!(%error, "what is left of deleted commands can't be removed");
        }
    }

    /// The id of this state directory.
    pub const fn id(&self) -> JournalId {
        self.id
    }

    /// The folder with all commands.
    pub fn commands_dir(&self) -> &Path {
        &self.commands
    }

    fn folder(&self, id: CommandId) -> PathBuf {
        self.commands.join(id.to_string())
    }

    /// Whether this id was ever taken; `None` for a new one.
    pub fn find(&self, id: CommandId) -> Result<Option<Admission>, JournalError> {
        let folder = self.folder(id);
        if folder.is_dir() {
            return Ok(Some(Admission::Known(Entry::at(folder, id))));
        }
        let forgotten = self.known.contains(id).map_err(JournalError::at(&self.commands))?;
        Ok(forgotten.then_some(Admission::Forgotten))
    }

    /// How a command ended whose folder was deleted; `None` when that is not known.
    pub fn past(&self, id: CommandId) -> Result<Option<Past>, JournalError> {
        self.past.find(id).map_err(JournalError::at(&self.commands))
    }

    /// Takes an order, durably, unless its id was ever taken.
    pub fn admit(&self, order: &Order) -> Result<Admission, JournalError> {
        if let Some(found) = self.find(order.id)? {
            return Ok(found);
        }
        let folder = self.folder(order.id);
        self.write(order, &folder, durable::sync_dir).map_err(JournalError::at(&folder))?;
        Ok(Admission::New(Entry::at(folder, order.id)))
    }

    /// The order is written in a folder of another name and comes into being whole, by the rename. One that can't be
    /// made durable is taken back: it is refused, so no later start of the agent may begin it.
    fn write(&self, order: &Order, folder: &Path, sync: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let fresh = self.commands.join(format!("{NEW}{}", order.id));
        durable::private_dir(&fresh)?;
        durable::write_json(&fresh.join(entry::ORDER), order)?;
        fs::rename(&fresh, folder)?;
        let Err(error) = sync(&self.commands) else { return Ok(()) };
        match fs::rename(folder, &fresh).and_then(|()| fs::remove_dir_all(&fresh)) {
            // It stands there for every later start to see: then it is taken, and not yet safe from a power cut.
            Err(stays) if folder.exists() => {
                warn!(command = %order.id, %error, %stays, "an order is not durable and can't be taken back");
                Ok(())
            }
            Ok(()) | Err(_) => Err(error),
        }
    }

    /// All commands whose folders are here, oldest first.
    pub fn entries(&self) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        for found in fs::read_dir(&self.commands).map_err(JournalError::at(&self.commands))? {
            let found = found.map_err(JournalError::at(&self.commands))?;
            if let Ok(id) = found.file_name().to_string_lossy().parse() {
                entries.push(Entry::at(found.path(), id));
            }
        }
        entries.sort_by_key(Entry::id);
        Ok(entries)
    }

    /// Deletes what is old enough and acknowledged, and the oldest logs beyond the bound. Returns how many went.
    pub fn prune(&mut self, now: Time) -> Result<usize, JournalError> {
        let mut held = Vec::new();
        for entry in self.entries()? {
            if let Some(holding) = entry.holding().map_err(JournalError::at(entry.dir()))? {
                held.push(holding);
            }
        }
        let doomed = retention::doomed(&held, now);
        let mut past = Vec::with_capacity(doomed.len());
        for id in &doomed {
            let entry = Entry::at(self.folder(*id), *id);
            // One that can't be read says nothing; its id stays known all the same.
            if let Ok(Some(outcome)) = entry.outcome() {
                past.push(Past::of(*id, entry.order().ok().flatten().as_ref(), &outcome));
            }
        }
        self.past.add(&past).map_err(JournalError::at(&self.commands))?;
        self.known.add(&doomed).map_err(JournalError::at(&self.commands))?;
        for id in &doomed {
            let folder = self.folder(*id);
            // The rename first: half a folder must never look like a command. One that stays holds up no other.
            let away = self.commands.join(format!("{OLD}{id}"));
            if let Err(error) = fs::rename(&folder, &away).and_then(|()| fs::remove_dir_all(&away)) {
                warn!(command = %id, %error, "the folder of an old command can't be removed");
            }
        }
        Ok(doomed.len())
    }
}

#[cfg(test)]
mod tests;

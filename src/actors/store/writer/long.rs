//! What the writer's thread does that takes seconds: compaction, and the records of a backup. Commits wait in its queue
//! meanwhile, readers go on; [`super::super::health::Busy`] says that it goes on.

use std::io;
use std::sync::Arc;

use super::super::backup;
use super::super::compaction::{self, CantCompact, Live};
use super::super::disk::CantWrite;
use super::super::folder::Folder;
use super::super::trees::Trees;
use super::super::{Compacted, StoreError, replacement};
use super::{Job, Writer};

impl Writer {
    /// What takes seconds, between two groups.
    pub(super) fn long_job(&mut self, job: Job) {
        match job {
            Job::Compact { reply } => {
                self.shared.busy.begin("the store is being compacted");
                let compacted = self.compact();
                self.shared.busy.end();
                self.answer(|| reply.send(compacted.map_err(|error| StoreError::CantWrite(error.to_string()))).is_ok());
            }
            Job::Export { head, reply } => {
                self.shared.busy.begin("a backup is being made");
                let exported = match &self.trees {
                    Some(trees) => backup::export(trees, self.disk.folder(), &head, &self.shared.busy),
                    None => Err(io::Error::other(CantWrite::Closed)),
                };
                self.shared.busy.end();
                self.answer(|| reply.send(exported.map_err(|error| StoreError::CantRead(error.to_string()))).is_ok());
            }
            short @ (Job::Commit { .. } | Job::RaiseMark { .. } | Job::Probe { .. }) => self.waiting.push_front(short),
        }
    }

    fn compact(&mut self) -> Result<Compacted, CantCompact> {
        let before = Folder::size(self.disk.store());
        let made = self.make_copy();
        if made.is_err() {
            replacement::give_up(self.disk.folder().data())?;
        }
        let live = made?;
        // Nobody is in the old one any more, and the new one is whole: from here it goes forward.
        let placed = replacement::ready(self.disk.folder().data(), None).map_err(CantCompact::from).and_then(|()| {
            let trees = Arc::new(self.disk.open_again()?);
            self.disk.witnessed(&self.counts);
            self.trees = Some(Arc::clone(&trees));
            self.shared.replace(Some(trees));
            Ok(Compacted { before, after: Folder::size(self.disk.store()), live: live.bytes })
        });
        if let Err(error) = &placed {
            self.in_trouble(&CantWrite::Placed(error.to_string()));
        }
        placed
    }

    /// A store whose sync failed, in new files: nothing else proves that what is read of it is on the disk too.
    pub(super) fn written_anew(&mut self, trees: Trees) -> Result<Trees, String> {
        let data = self.disk.folder().data().to_owned();
        self.shared.busy.begin("the store is written anew, because the disk failed");
        let copied = compaction::copy(&trees, self.disk.folder(), &self.shared.busy);
        self.shared.busy.end();
        drop(trees);
        let said = |error: &dyn std::fmt::Display| {
            format!("syncing to disk failed, and the store can't be written anew: {error}; look after the disk")
        };
        if let Err(error) = copied {
            replacement::give_up(&data).map_err(|error| said(&error))?;
            return Err(said(&error));
        }
        replacement::ready(&data, None).map_err(|error| said(&error))?;
        self.disk.open_again().map_err(|error| said(&error))
    }

    /// Makes the copy, and closes the old store.
    fn make_copy(&mut self) -> Result<Live, CantCompact> {
        let trees = self.trees.clone().ok_or(CantCompact::Closed)?;
        let live = compaction::copy(&trees, self.disk.folder(), &self.shared.busy)?;
        drop(trees);
        self.shared.busy.swap(true);
        self.close();
        if let Some(held) = self.trees.clone() {
            self.shared.replace(Some(held));
            return Err(CantCompact::Read);
        }
        Ok(live)
    }
}

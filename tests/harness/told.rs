//! What was done to the fleet and what it answered: the reasons that a result may have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the clients and the faults write down, from many threads.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Commands that were answered with 202, with their hosts.
    pub(crate) accepted: Mutex<BTreeMap<String, String>>,
    /// Commands that somebody asked to stop, before the request left.
    pub(crate) stop_asked: Mutex<BTreeSet<String>>,
    /// Commands whose runner was killed.
    pub(crate) runners_killed: Mutex<BTreeSet<String>>,
    /// Who had a full disk at some time: `daemon`, or a host.
    pub(crate) full: Mutex<BTreeSet<String>>,
    /// Requests that were answered with a refusal.
    pub(crate) refused: AtomicU64,
    /// Requests that got no answer: what became of them only the ledger knows.
    pub(crate) unanswered: AtomicU64,
}

/// How often each kind of fault came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// `kill -9` of the daemon.
    pub(crate) daemon: u64,
    /// Of agents.
    pub(crate) agents: u64,
    /// Of runners.
    pub(crate) runners: u64,
    /// SIGTERM.
    pub(crate) stops: u64,
    /// Links that were cut, silenced, slowed, unplugged.
    pub(crate) links: u64,
    /// SIGSTOP.
    pub(crate) freezes: u64,
    /// Full disks.
    pub(crate) disks: u64,
    /// Clocks that jumped.
    pub(crate) jumps: u64,
    /// Commands in the ledger.
    pub(crate) commands: u64,
    /// Of these, how many succeeded, failed, were stopped, and anything else.
    pub(crate) ends: [u64; 4],
    /// Lines of output in the ledger.
    pub(crate) lines: u64,
    /// Deltas that tabs applied.
    pub(crate) deltas: u64,
}

impl Tally {
    /// All kills.
    pub(crate) const fn kills(&self) -> u64 {
        self.daemon + self.agents + self.runners
    }

    /// With those of another round.
    pub(crate) fn add(&mut self, other: &Self) {
        self.daemon += other.daemon;
        self.agents += other.agents;
        self.runners += other.runners;
        self.stops += other.stops;
        self.links += other.links;
        self.freezes += other.freezes;
        self.disks += other.disks;
        self.jumps += other.jumps;
        self.commands += other.commands;
        for (mine, theirs) in self.ends.iter_mut().zip(other.ends) {
            *mine += theirs;
        }
        self.lines += other.lines;
        self.deltas += other.deltas;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { daemon, agents, runners, stops, links, freezes, disks, jumps, commands, lines, deltas, ends } = self;
        let [good, bad, stopped, other] = ends;
        write!(
            f,
            "{} kills ({daemon} daemon, {agents} agent, {runners} runner), {stops} stops, {links} bad links, \
             {freezes} freezes, {disks} full disks, {jumps} clock jumps, {commands} commands ({good} good, {bad} failed, \
             {stopped} stopped, {other} other), {lines} lines, {deltas} deltas",
            self.kills()
        )
    }
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

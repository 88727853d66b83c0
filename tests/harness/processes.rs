//! What the harness does to the processes of a fleet, beyond what stories do.

use std::process::Child;

use rustix::process::Signal;

use crate::fleet::{Fleet, ended_well, signal};

impl Fleet {
    /// SIGTERM to a host's agent, and waits for its end.
    pub(crate) fn stop_agent(&mut self, host: &str) {
        let mut process = self.agents.get_mut(host).unwrap().process.take().unwrap();
        signal(process.id(), Signal::TERM);
        assert!(ended_well(process.wait().unwrap()), "{host}'s agent ends well when it is asked to\n{}", self.logs());
    }

    /// Whether an agent's process goes on.
    pub(crate) fn agent_lives(&mut self, host: &str) -> bool {
        let process = self.agents.get_mut(host).unwrap().process.as_mut();
        process.is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// The daemon's process and the agents', as far as they were started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let agents = self.agents.values().filter_map(|agent| agent.process.as_ref());
        self.daemon.iter().chain(agents).map(Child::id).collect()
    }

    /// A signal to the daemon.
    pub(crate) fn signal_daemon(&self, which: Signal) {
        signal(self.daemon.as_ref().unwrap().id(), which);
    }

    /// Leaves everything where it lies when the fleet is dropped.
    pub(crate) fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }
}

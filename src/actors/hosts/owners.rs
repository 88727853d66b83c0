//! Which run owns which host. The runs' records say it; here it is kept so that a host's actor that is started again
//! hears it again. All hosts of a run agree, or none is taken.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use nixfleet_model::checks::Refusal;
use nixfleet_protocol::{HostId, RunId};
use ractor::rpc::CallResult;
use ractor::{ActorRef, RpcReplyPort};

use super::{Msg, State, restarting};
use crate::actors::host::{self, tell};
use crate::actors::slot::answer;

/// How long a host's actor may take to say whether it is idle.
const AGREE: Duration = Duration::from_secs(5);

type Refused = Vec<(HostId, Refusal)>;

impl State {
    /// Asks all of them at once. Until they have answered they are the run's, so that nobody else gets one of them.
    pub(super) fn reserve(
        &mut self,
        myself: &ActorRef<Msg>,
        run: RunId,
        hosts: Vec<HostId>,
        reply: RpcReplyPort<Refused>,
    ) {
        let (mut refused, mut asked) = (Refused::new(), Vec::new());
        for host in hosts {
            let Some(entry) = self.hosts.get_mut(&host) else {
                let message = format!("There is no host {host}.");
                refused.push((host, refusal("no_such_host", message)));
                continue;
            };
            match (entry.run.filter(|owner| *owner != run), &entry.actor) {
                (Some(owner), _) => {
                    let message = format!("{host} belongs to run {owner} until that is over.");
                    refused.push((host, refusal("host_busy", message)));
                }
                (None, None) => {
                    let message = restarting(&host);
                    refused.push((host, refusal("unavailable", message)));
                }
                (None, Some(actor)) => {
                    entry.run = Some(run);
                    asked.push((host, actor.clone()));
                }
            }
        }
        let myself = myself.clone();
        tokio::spawn(async move {
            let all = asked.into_iter().map(|(host, actor)| async move {
                match actor.call(|reply| host::Msg::Reserve { run, reply }, Some(AGREE)).await {
                    Ok(CallResult::Success(Ok(()))) => None,
                    Ok(CallResult::Success(Err(refusal))) => Some((host, refusal)),
                    Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => {
                        let message = restarting(&host);
                        Some((host, refusal("unavailable", message)))
                    }
                }
            });
            refused.extend(join_all(all).await.into_iter().flatten());
            tell(&myself, Msg::Reserved { run, refused, reply });
        });
    }

    pub(super) fn reserved(&mut self, run: RunId, refused: Refused, reply: RpcReplyPort<Refused>) {
        if !refused.is_empty() {
            self.release(run);
        }
        answer(reply, refused);
    }

    pub(super) fn own(&mut self, run: RunId, hosts: &[HostId]) {
        for host in hosts {
            self.set_owner(host, Some(run));
        }
    }

    pub(super) fn release(&mut self, run: RunId) {
        self.release_where(|owner| owner == run);
    }

    /// Releases what belongs to a run that is not there.
    pub(super) fn keep_owners(&mut self, runs: &BTreeSet<RunId>) {
        self.release_where(|owner| !runs.contains(&owner));
    }

    fn release_where(&mut self, which: impl Fn(RunId) -> bool) {
        let theirs = self.hosts.iter().filter(|(_, entry)| entry.run.is_some_and(&which));
        let theirs: Vec<HostId> = theirs.map(|(host, _)| host.clone()).collect();
        for host in theirs {
            self.set_owner(&host, None);
        }
    }

    fn set_owner(&mut self, host: &HostId, run: Option<RunId>) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        entry.run = run;
        if let Some(actor) = &entry.actor {
            tell(actor, host::Msg::Owned(run));
        }
    }
}

fn refusal(code: &'static str, message: String) -> Refusal {
    Refusal { code, message, offer: None, command_id: None }
}

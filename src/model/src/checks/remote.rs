//! Checks that ask about the remote.

use nixfleet_protocol::{Op, Time};

use super::Refusal;
use crate::compartments::{actions, sentence};
use crate::remote::code::Code;
use crate::remote::wish::cant_be_merged;
use crate::remote::{Readability, RemoteState};

pub(super) fn readable(remote: &RemoteState, now: Time) -> Result<(), Refusal> {
    let refuse = |message: String| Refusal::new("remote_unavailable", message);
    match remote.readability(now) {
        Readability::Readable(_) => Ok(()),
        Readability::NotConfigured => Err(refuse(
            "No remote is configured, so nobody can say what to pull: set NIXFLEET_REPO_URL for the dashboard."
                .to_owned(),
        )),
        Readability::NotYet => Err(refuse("The remote has not been read yet: try again in a moment.".to_owned())
            .offering(actions::start(Op::RefreshGit))),
        Readability::Unreadable(failing) => Err(refuse(format!("{}. Ask it again.", sentence::unreadable(failing)))
            .offering(actions::start(Op::RefreshGit))),
    }
}

pub(super) fn pull_request(remote: &RemoteState) -> Result<(), Refusal> {
    match &remote.pull_request {
        Some(waiting) if waiting.mergeable != Some(false) => Ok(()),
        Some(waiting) => {
            let named = format!("#{} {}", waiting.number, sentence::quoted(&waiting.title));
            Err(Refusal::new(Code::NoPendingPr.as_str(), cant_be_merged(waiting, &named)))
        }
        None => Err(Refusal::new(Code::NoPendingPr.as_str(), "No update pull request waits.")
            .offering(actions::start(Op::RefreshGit))),
    }
}

pub(super) fn merged_by_us(remote: &RemoteState) -> Result<(), Refusal> {
    match &remote.merged {
        Some(_) => Ok(()),
        None => Err(Refusal::new(
            Code::NothingToRevert.as_str(),
            "No pull request was merged from here that could be reverted.",
        )),
    }
}

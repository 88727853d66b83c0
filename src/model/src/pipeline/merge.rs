//! What a run merges is what was shown when it was started, whatever waits later: it stands in its stage's arguments, so
//! that it is the same after a restart, and when the stage is tried again.

use nixfleet_protocol::Op;
use nixfleet_protocol::api::PullRequest;

use super::record::Run;
use crate::checks::Refusal;
use crate::remote::wish;

impl Run {
    /// Writes into each stage that merges which pull request that is, with its head. `waiting` is the one that is shown.
    /// Refused where there is none to merge, or another than the caller has seen. One that does not wait any more is
    /// left to its stage: it may be merged already, and that is as good.
    pub fn bind_merge(&mut self, waiting: Option<&PullRequest>) -> Result<(), Refusal> {
        for stage in self.record.stages.iter_mut().filter(|stage| stage.op == Op::MergePr) {
            let given = serde_json::from_str(&stage.args).unwrap_or_default();
            stage.args = wish::bound(&given, waiting)?;
        }
        Ok(())
    }
}

//! The bar of what is selected: what can be done with several hosts at once. For how many of them is counted by the
//! script, from what each row says of its own host (`data-offers`); what is offered is decided here.

use askama::Template;
use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Host, OpEntry, PipelineEntry};

use super::button::op_icon;
use super::{Fleet, html, rollout};

/// The ops that can be started on many hosts, in the order of the bar.
const MANY: [Op; 4] = [Op::Pull, Op::Switch, Op::Test, Op::Plan];
/// The pipeline that has a button of its own in the bar: pull, then switch, then test.
const DO_ALL: &str = "do-all";

/// The words that a row says of its host: what of the bar would start on it now.
pub(super) fn offers(host: &Host) -> String {
    let offered = |op: &Op| host.offers.contains(op);
    let ops = MANY.iter().filter(|op| offered(op)).map(|op| op.as_str());
    ops.chain(rollout::could_start(host).then_some(rollout::KEY)).collect::<Vec<_>>().join(" ")
}

#[derive(Template)]
#[template(path = "picked.html")]
struct Bar {
    all: Vec<Many>,
    /// Other pipelines.
    more: Vec<Many>,
}

/// A button of the bar.
struct Many {
    key: &'static str,
    label: String,
    icon: &'static str,
    look: &'static str,
    post: String,
    /// What is confirmed first; `{hosts}` stands for their names.
    ask: String,
    /// The dialog that asks how.
    form: &'static str,
    totp: bool,
    about: String,
}

impl Many {
    fn op(entry: &OpEntry) -> Self {
        let ask = if entry.id == Op::Switch { "What is checked out is built and activated on {hosts}." } else { "" };
        Self {
            key: entry.id.as_str(),
            label: entry.label.clone(),
            icon: op_icon(entry.id),
            look: if entry.id == Op::Plan { "ghost" } else { "" },
            post: format!("/api/v1/ops/{}", entry.id),
            ask: ask.to_owned(),
            form: "",
            totp: false,
            about: entry.description.clone(),
        }
    }

    fn pipeline(entry: &PipelineEntry, look: &'static str) -> Self {
        Self {
            key: rollout::KEY,
            label: entry.label.clone(),
            icon: "i-run",
            look,
            post: format!("/api/v1/pipelines/{}/runs", entry.name),
            ask: format!("{} Stage by stage, on {{hosts}}.", entry.description),
            form: rollout::ID,
            totp: entry.totp,
            about: entry.description.clone(),
        }
    }
}

/// The bar. It stands on the page from the start, and is shown while something is selected.
pub(super) fn bar(fleet: &Fleet<'_>) -> String {
    let mut all: Vec<_> = MANY.iter().filter_map(|op| fleet.op(*op)).map(Many::op).collect();
    all.splice(all.len().min(3)..all.len().min(3), fleet.pipeline(DO_ALL).map(|entry| Many::pipeline(entry, "main")));
    let others = rollout::for_hosts(fleet).filter(|entry| entry.name != DO_ALL);
    html(&Bar { all, more: others.map(|entry| Many::pipeline(entry, "ghost")).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::pages::sample;

    #[test]
    fn a_row_says_what_would_start_on_its_host() {
        let state = sample::state();
        let offers = |name: &str| offers(&state.hosts[&name.parse().unwrap()].host);
        assert_eq!(offers("hsb0"), "test plan run", "current: nothing to pull or to switch");
        assert_eq!(offers("gpc0"), "switch test plan run");
        assert_eq!(offers("hsb1"), "", "busy");
        assert_eq!(offers("mba-air"), "run", "offline: a run waits for it, or skips it");
    }
}

//! The bar of what is selected: what can be done with several hosts at once. For how many of them is counted by the
//! script, from what each row says of its own host (`data-offers`); what is offered is decided here.

use askama::Template;
use nixfleet_protocol::Op;
use nixfleet_protocol::api::Host;

use super::button::op_icon;
use super::{Fleet, html};

/// The ops that can be started on many hosts, in the order of the bar.
const MANY: [Op; 4] = [Op::Pull, Op::Switch, Op::Test, Op::Plan];
/// The pipeline of the bar: pull, then switch, then test.
const DO_ALL: &str = "do-all";

/// The words that a row says of its host: what of the bar would start on it now.
pub(super) fn offers(host: &Host) -> String {
    let offered = |op: &Op| host.offers.contains(op);
    let ops = MANY.iter().filter(|op| offered(op)).map(|op| op.as_str());
    // A run passes over what has nothing to do, so one stage that has is enough.
    let all = [Op::Pull, Op::Switch, Op::Test].iter().any(offered).then_some(DO_ALL);
    ops.chain(all).collect::<Vec<_>>().join(" ")
}

#[derive(Template)]
#[template(path = "picked.html")]
struct Bar {
    all: Vec<Many>,
}

/// A button of the bar.
struct Many {
    key: &'static str,
    label: String,
    icon: &'static str,
    look: &'static str,
    post: String,
    /// What is confirmed first; `{hosts}` stands for their names.
    ask: &'static str,
    about: String,
}

/// The bar. It stands on the page from the start, and is shown while something is selected.
pub(super) fn bar(fleet: &Fleet<'_>) -> String {
    let mut all: Vec<_> = MANY
        .iter()
        .filter_map(|op| fleet.op(*op))
        .map(|entry| Many {
            key: entry.id.as_str(),
            label: entry.label.clone(),
            icon: op_icon(entry.id),
            look: if entry.id == Op::Plan { "ghost" } else { "" },
            post: format!("/api/v1/ops/{}", entry.id),
            ask: if entry.id == Op::Switch { "What is checked out is built and activated on {hosts}." } else { "" },
            about: entry.description.clone(),
        })
        .collect();
    all.insert(
        all.len().min(3),
        Many {
            key: DO_ALL,
            label: "Do all".to_owned(),
            icon: "i-run",
            look: "main",
            post: format!("/api/v1/pipelines/{DO_ALL}/runs"),
            ask: "Pulls, then switches, then runs the tests, stage by stage, on {hosts}.",
            about: "Pull, then switch, then run the tests.".to_owned(),
        },
    );
    html(&Bar { all })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::pages::sample;

    #[test]
    fn a_row_says_what_would_start_on_its_host() {
        let state = sample::state();
        let offers = |name: &str| offers(&state.hosts[&name.parse().unwrap()].host);
        assert_eq!(offers("hsb0"), "test plan do-all", "current: nothing to pull or to switch");
        assert_eq!(offers("gpc0"), "switch test plan do-all");
        assert_eq!(offers("hsb1"), "", "busy");
        assert_eq!(offers("mba-air"), "", "offline");
    }
}

//! The banner of the update that waits, and the offer to revert a merge.

use nixfleet_protocol::api::{Deployed, LightStatus, Merged, Remote};

use super::*;

fn region(state: &FleetState) -> String {
    let ops = sample::op_entries();
    element(&fleet_page(&view(state, &ops), SESSION), "update").unwrap().to_owned()
}

/// Says that a merge was ours, and that it went badly on these hosts.
pub(in crate::web::pages) fn merged(mut state: FleetState, failing: &[&str]) -> FleetState {
    let commit: nixfleet_protocol::Commit = "aaaaaaa0000000000000000000000000000000aa".parse().unwrap();
    let mut remote = Remote::clone(&state.remote);
    remote.merged = Some(Merged {
        number: 213,
        title: "flake.lock: update openssl".to_owned(),
        url: "https://git.example/infra/fleet/pulls/213".to_owned(),
        commit: commit.clone(),
        at: sample::ago(600),
        by: "user".to_owned(),
    });
    state.remote = Arc::new(remote);
    for name in failing {
        let mut host = host_of(&state, name).clone();
        host.deployed = host.deployed.map(|deployed| Deployed { commit: commit.clone(), ..deployed });
        Arc::make_mut(&mut host.lights).tests.status = LightStatus::Error;
        state = with_host(state, host);
    }
    state
}

#[test]
fn an_update_says_what_merging_and_deploying_does_to_which_hosts() {
    let shown = region(&sample::state());
    for told in [
        "href=\"https://git.example/infra/fleet/pulls/214\"",
        "flake.lock: update 11 inputs",
        "updates · <time",
        "1 commit, 1 file",
        "Can be merged.",
        "data-form=\"form:run\"",
        "data-post=\"/api/v1/pipelines/merge-deploy/runs\"",
        // What is shown is what is merged.
        "&#34;options&#34;:{&#34;args&#34;:{&#34;merge-pr&#34;:{",
        "&#34;number&#34;:214",
        "Merges #214 into main, then pulls, switches and tests ",
        "Offline, and waited for: mba-air.",
        "Busy now, and left out: ",
        "1 host never seen, and left out.",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let body = shown.split("data-body=\"{&#34;hosts&#34;:").nth(1).unwrap().split(']').next().unwrap();
    assert!(body.contains("hsb0") && body.contains("mba-air"), "{body}");
    assert!(!body.contains("hsb1") && !body.contains("nuc-den"), "neither the busy nor who was never seen: {body}");
}

#[test]
fn an_update_that_cannot_be_merged_says_why_and_is_off() {
    for (mergeable, why) in [(Some(false), "It has conflicts with main."), (None, "still looks")] {
        let mut state = sample::state();
        let remote = Arc::make_mut(&mut state.remote);
        let request = remote.pull_request.as_mut().unwrap();
        request.mergeable = mergeable;
        // As the remote says it: the end of another sentence.
        request.why_not = mergeable.map(|_| why.replace("It has", "it has"));
        let shown = region(&state);
        assert_eq!(shown.matches("aria-disabled=\"true\"").count(), 2, "{shown}");
        assert!(shown.contains(why), "{shown}");
    }
}

#[test]
fn an_update_whose_checks_fail_can_be_merged_and_says_so_also_where_it_is_confirmed() {
    let mut state = sample::state();
    let request = Arc::make_mut(&mut state.remote).pull_request.as_mut().unwrap();
    request.why_not = Some("its checks have failed or still run.".to_owned());
    let shown = region(&state);
    assert!(!shown.contains("aria-disabled"), "{shown}");
    assert!(shown.contains("Can be merged. Its checks have failed or still run."), "{shown}");
    assert_eq!(shown.matches("Its checks have failed").count(), 3, "in the banner and before both: {shown}");
}

#[test]
fn nothing_stands_there_when_nothing_waits() {
    let mut state = sample::state();
    Arc::make_mut(&mut state.remote).pull_request = None;
    let shown = region(&state);
    assert!(!shown.contains("<section") && !shown.contains("<p"), "{shown}");
    Arc::make_mut(&mut state.remote).pull_request_error = Some("The forge did not answer.".to_owned());
    assert!(region(&state).contains("The forge did not answer."));
}

#[test]
fn a_merge_that_went_badly_on_two_hosts_can_be_reverted_and_on_one_host_it_is_the_hosts_own() {
    let one = region(&merged(sample::state(), &["hsb0"]));
    assert!(!one.contains("Revert"), "{one}");
    let shown = region(&merged(sample::state(), &["hsb0", "hsb8"]));
    for told in [
        "After #213 was merged, tests failed on hsb0 and hsb8.",
        "merged by user",
        ">#213 flake.lock: update openssl</a>",
        "data-post=\"/api/v1/ops/revert-pr\"",
        "A commit on main takes back what #213 brought.",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
}

#[test]
fn the_banner_follows_the_hosts() {
    let ops = sample::op_entries();
    let old = merged(sample::state(), &["hsb0"]);
    let before = host_of(&old, "hsb8").clone();
    let new = merged(old, &["hsb8"]);
    let host = Arc::new(host_of(&new, "hsb8").clone());
    let fleet = view(&new, &ops);
    let made = fragments(&Change::HostUpdated(host), Some(&before), &fleet, &PageKind::Fleet);
    assert!(made.iter().any(|it| it.id == "update" && it.html.contains("Revert #213")), "{:?}", ids(&made));
    let mut beat = before.clone();
    beat.last_seen = Some(sample::ago(0));
    let made = fragments(&Change::HostUpdated(Arc::new(beat)), Some(&before), &fleet, &PageKind::Fleet);
    assert!(!ids(&made).contains(&"update"), "a heartbeat is no news for it");
}

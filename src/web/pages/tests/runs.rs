//! Runs: the matrix, the history, and the room that they take.

use nixfleet_protocol::api::{Command, CommandState, Run, RunState};

use super::*;

/// A run begins, goes on, and ends.
pub(super) fn changes() -> Vec<(Arc<Run>, Change)> {
    use CommandState::{Executing, Pending, Success};
    let run = |n, state, stage, states| Arc::new(sample::run(n, state, stage, &[("hsb0", states)]));
    let begun = run(40, RunState::Running, 0, [Executing, Pending, Pending]);
    let further = run(23, RunState::Running, 1, [Success, Executing, Pending]);
    let ended = run(23, RunState::Complete, 2, [Success; 3]);
    vec![
        (Arc::clone(&begun), Change::RunStarted(begun)),
        (Arc::clone(&further), Change::RunUpdated(further)),
        (Arc::clone(&ended), Change::RunFinished(ended)),
    ]
}

#[test]
fn without_runs_there_is_no_room_for_them() {
    let ops = sample::op_entries();
    let mut state = sample::state();
    state.runs.clear();
    let page = fleet_page(&view(&state, &ops), SESSION);
    // The stylesheet hides the section around an empty list.
    for list in ["runs", "past-runs"] {
        assert_eq!(element(&page, list), Some(format!("<ol id=\"{list}\" class=\"runs\"></ol>").as_str()));
    }
    assert!(!element(&page, "counts").unwrap().contains("#all-runs"));
}

#[test]
fn a_run_shows_each_stage_of_each_host_while_it_goes_on() {
    let ops = sample::op_entries();
    let state = sample::state();
    let page = fleet_page(&view(&state, &ops), SESSION);
    let id = "run:01920000-0000-7000-8000-000000000017";
    let run = element(&page, id).unwrap();
    for host in ["hsb0", "hsb1", "hsb8", "csb0", "imac0"] {
        assert!(run.contains(&format!("href=\"/hosts/{host}\"")), "{host}");
    }
    for told in ["Switch: Running", "Switch: Failed", "Test: Skipped", "Test: Waits", "Pull: Success"] {
        assert!(run.contains(told), "{told}");
    }
    assert!(run.contains("<b>Pull</b> <span class=\"num\">5/5</span>"), "{run}");
    assert!(run.contains("aria-current=\"step\"><b>Switch</b> <span class=\"num\">1/5</span>"), "{run}");
    assert!(run.contains("/cancel\""));
    assert!(element(&page, "counts").unwrap().contains("#all-runs"));
    // What is over is a line; its matrix is on its own page.
    let over = element(&page, "run:01920000-0000-7000-8000-000000000016").unwrap();
    assert!(!over.contains("<table") && !over.contains("/cancel"), "{over}");
}

#[test]
fn the_page_of_a_run_has_its_own_commands() {
    let ops = sample::op_entries();
    let mut state = sample::state();
    let run = state.runs.values().next_back().unwrap().clone();
    let mut own = sample::command(50, "hsb1", Op::Switch, CommandState::Executing);
    own.run_id = Some(run.id);
    let own = Arc::new(own);
    state.commands.insert(own.id, Arc::clone(&own));
    let fleet = view(&state, &ops);
    let kind = PageKind::Run(run.id);
    let page = page(&fleet, &kind);
    let list = element(&page, "commands").unwrap();
    assert!(list.contains(&own.id.to_string()));
    assert_eq!(list.matches("<li").count(), 1, "and no other's");
    let made = fragments(&Change::CommandStarted(Arc::clone(&own)), None, &fleet, &kind);
    assert_fresh(&made, &page, "a command of a run");
    assert_eq!(made.len(), 1);
    let mut other = Command::clone(&own);
    other.run_id = None;
    assert!(fragments(&Change::CommandStarted(Arc::new(other)), None, &fleet, &kind).is_empty());
}

fn sampled(n: u64) -> (FleetState, nixfleet_protocol::RunId) {
    (sample::state(), format!("01920000-0000-7000-8000-{n:012x}").parse().unwrap())
}

#[test]
fn a_roll_out_shows_its_groups_whose_turn_it_is_and_what_it_waits_for() {
    let ops = sample::op_entries();
    let (state, id) = sampled(24);
    let page = page(&view(&state, &ops), &PageKind::Run(id));
    let head = element(&page, "run-head").unwrap();
    let at = |text: &str| head.find(text).unwrap_or_else(|| panic!("{text}: {head}"));
    assert!(at("<b>Canary</b>") < at("<b>Wave 1 of 2</b>") && at("<b>Wave 1 of 2</b>") < at("<b>Wave 2 of 2</b>"));
    let now = head.split("<tbody").skip(1).find(|group| group.contains("aria-current=\"step\"")).unwrap();
    assert!(
        now.contains("Wave 1 of 2") && now.contains("Soaking, <time") && now.contains(">4 min left</time>"),
        "{now}"
    );
    let waits = head.split("run-waits").nth(1).unwrap().split("</ul>").next().unwrap();
    for (said, left) in [("all good so far.", ">4 min left<"), ("Waits for hsb8 to come online.", ">1 min left<")] {
        assert!(waits.contains(said) && waits.contains(left), "{said}: {waits}");
    }
    assert!(!head.contains("Test runs on hsb1."), "what runs is seen in the matrix");
    assert!(head.contains("mba-air: offline, and was not waited for."));
    for said in [
        "hsb0 goes first.",
        "The others follow in 2 waves.",
        "Each group has to stay good for 10 min before the next.",
        "It halts and asks when more than 1 fail.",
        "At most 2 hosts at once.",
        "Offline hosts are skipped.",
    ] {
        assert!(head.contains(said), "{said}");
    }
}

#[test]
fn a_halted_run_says_why_who_failed_of_what_and_what_each_decision_does() {
    let ops = sample::op_entries();
    let (state, id) = sampled(25);
    let fleet = view(&state, &ops);
    for html in [page(&fleet, &PageKind::Run(id)), page(&fleet, &PageKind::Fleet)] {
        let halt = html.split("<section class=\"halt\"").nth(1).unwrap().split("</section>").next().unwrap();
        for told in [
            "2 hosts of the canary have failed",
            "The unit caddy.service failed to start.",
            "1 of 12 failed, 30-backup.",
            "Show the log",
            "Tries csb0 and gpc0 again, from the stage that failed",
            "Rolls back what this run switched, to the generation before: hsb0 and gpc0.",
            "The run goes on with the 2 other hosts. What failed stays as it is: csb0 and gpc0.",
            "Nothing is taken back.",
            "&#34;decision&#34;:&#34;retry-failed&#34;",
            "/decide\"",
        ] {
            assert!(halt.contains(told), "{told}: {halt}");
        }
        assert!(halt.find("Retry the failed").unwrap() < halt.find("Roll back").unwrap(), "the likeliest first");
        assert_eq!(halt.matches("btn main").count(), 1);
    }
}

#[test]
fn a_stage_that_began_leads_to_its_log() {
    let ops = sample::op_entries();
    let (state, id) = sampled(25);
    let page = page(&view(&state, &ops), &PageKind::Run(id));
    let head = element(&page, "run-head").unwrap();
    assert!(head.contains("aria-label=\"Switch on csb0: Failed\""), "{head}");
    let log = state.runs[&id].commands.values().flatten().flatten().next().unwrap();
    let cell = head.split("<button").find(|button| button.contains("aria-label=\"Switch on csb0")).unwrap();
    assert!(cell.contains(&format!("data-log=\"{log}\"")), "{cell}");
}

#[test]
fn of_a_thousand_hosts_those_are_named_that_run_or_went_wrong() {
    use CommandState::{Error, Executing, Pending, Success};
    let ops = sample::op_entries();
    let names: Vec<String> = (0..1_000).map(|n| format!("h{n:03}")).collect();
    let state_of = |n: usize| match n {
        900 => [Success, Error, Pending],
        950 => [Success, Executing, Pending],
        _ => [Success; 3],
    };
    let hosts: Vec<_> = names.iter().enumerate().map(|(n, name)| (name.as_str(), state_of(n))).collect();
    let run = Arc::new(sample::run(60, RunState::Running, 1, &hosts));
    let mut state = sample::state();
    state.runs.insert(run.id, Arc::clone(&run));
    let fleet = view(&state, &ops);
    let made = fragments(&Change::RunUpdated(Arc::clone(&run)), None, &fleet, &PageKind::Fleet);
    assert!(
        made[0].html.contains(">h900</a>") && made[0].html.contains(">h950</a>") && made[0].html.contains(">h000</a>")
    );
    assert!(made[0].html.contains("and 952 more: 952 came through"), "{}", made[0].html);
    assert!(made[0].html.len() < 60_000, "{}", made[0].html.len());
}

#[test]
fn the_page_of_a_run_has_its_own_events() {
    let ops = sample::op_entries();
    let (mut state, id) = sampled(24);
    let mut event = sample::event(900, 0, Level::Info, None, "run_started", "Do all starts on 6 hosts.");
    event.details = serde_json::json!({ "run_id": id, "pipeline": "do-all" });
    let event = Arc::new(event);
    state.events.push_front(Arc::clone(&event));
    let fleet = view(&state, &ops);
    let kind = PageKind::Run(id);
    let page = page(&fleet, &kind);
    assert!(element(&page, "events").unwrap().contains("Do all starts on 6 hosts."));
    let made = fragments(&Change::Event(event), None, &fleet, &kind);
    assert_fresh(&made, &page, "an event of a run");
    assert_eq!(made.len(), 1);
}

#[test]
fn pipelines_stand_in_the_menu_and_in_the_bar_with_the_dialog_that_asks_how() {
    let ops = sample::op_entries();
    let state = sample::state();
    let page = fleet_page(&view(&state, &ops), SESSION);
    let menu = element(&page, "host-menu").unwrap();
    let bar = element(&page, "picked").unwrap();
    for (name, label) in [("do-all", "Do all"), ("update", "Update all inputs"), ("nightly-restart", "Nightly restart")]
    {
        for (place, html) in [("menu", menu), ("bar", bar)] {
            let post = format!("data-post=\"/api/v1/pipelines/{name}/runs\"");
            let button =
                html.split("<button").find(|button| button.contains(&post)).unwrap_or_else(|| panic!("{place}"));
            assert!(button.contains(label) && button.contains("data-form=\"form:run\""), "{place}: {button}");
            assert_eq!(button.contains("data-totp"), name == "nightly-restart", "{place}: {button}");
        }
    }
    for html in [menu, bar] {
        assert!(!html.contains("merge-deploy"), "what merges is offered where the pull request stands");
    }
    let form = element(&page, "form:run").unwrap();
    for name in ["canary.tag", "canary.hosts", "waves", "soak_s", "max_failures", "parallel", "offline", "wait_s"] {
        assert!(form.contains(&format!("name=\"{name}\"")), "{name}");
    }
}

#[test]
fn what_a_run_merged_that_did_not_complete_can_be_taken_back_while_it_is_the_last_merge() {
    let ops = sample::op_entries();
    let (state, id) = sampled(25);
    for (ended, by_it, offered) in [
        (RunState::Cancelled, true, true),
        (RunState::Partial, true, true),
        (RunState::Failed, true, true),
        (RunState::Complete, true, false),
        (RunState::Cancelled, false, false),
    ] {
        let mut state = super::update::merged(state.clone(), &[]);
        let merged = Arc::make_mut(&mut state.remote).merged.as_mut().unwrap();
        merged.by = if by_it { format!("pipeline:{id}") } else { "user".to_owned() };
        let run = Arc::make_mut(state.runs.get_mut(&id).unwrap());
        (run.state, run.halted, run.finished_at) = (ended, None, Some(sample::ago(5)));
        run.ops.insert(0, Op::MergePr);
        let before = state.clone();
        let fleet = view(&before, &ops);
        for kind in [PageKind::Run(id), PageKind::Fleet] {
            let html = page(&fleet, &kind);
            assert_eq!(html.contains("Revert #213"), offered, "{ended:?} {by_it}");
            assert!(!offered || html.contains("{&#34;args&#34;:{&#34;number&#34;:213}}"), "that one and no other");
        }
        // It goes when it was done, by itself.
        Arc::make_mut(&mut state.remote).merged = None;
        let fleet = view(&state, &ops);
        for kind in [PageKind::Run(id), PageKind::Fleet] {
            let made = fragments(&Change::RemoteUpdated(Arc::clone(&state.remote)), None, &fleet, &kind);
            let (morphed, page) = (made.iter().any(|it| it.html.contains("run-line")), page(&fleet, &kind));
            assert!(morphed == (ended != RunState::Complete), "{:?}", ids(&made));
            assert_fresh(&made, &page, "a merge that was taken back");
        }
    }
}

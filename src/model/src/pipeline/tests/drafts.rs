//! What somebody asks for becomes a run, or is refused with all that is wrong with it.

use nixfleet_protocol::api::Waves;
use serde_json::json;

use super::*;

fn groups(hosts: &[&str], options: RunOptions) -> Vec<String> {
    let registry = Registry::default();
    let run = draft(registry.get("do-all").unwrap(), wanted(hosts, options), tags, START).unwrap();
    let view = run.view(Vec::new());
    let line = |group: &nixfleet_protocol::api::RunGroup| {
        let hosts: Vec<_> = group.hosts.iter().map(HostId::as_str).collect();
        format!("{}: {}", group.label, hosts.join(" "))
    };
    view.groups.iter().map(line).collect()
}

fn tags(host: &HostId) -> Vec<String> {
    if host.as_str() < "c" { vec!["early".to_owned()] } else { Vec::new() }
}

#[test]
fn hosts_go_in_groups_the_canary_first() {
    let five = ["e", "d", "c", "b", "a"];
    let tag = Some(Canary { hosts: Vec::new(), tag: Some("early".to_owned()) });
    let waves = |waves| RunOptions { waves: Some(waves), ..RunOptions::default() };
    for (what, options, expected) in [
        ("all at once", RunOptions::default(), vec!["All hosts: e d c b a"]),
        (
            "a canary by name",
            RunOptions { canary: Some(canary(&["c"])), ..RunOptions::default() },
            vec!["Canary: c", "The others: e d b a"],
        ),
        (
            "a canary by tag, then waves",
            RunOptions { canary: tag, ..waves(Waves::Count(2)) },
            vec!["Canary: b a", "Wave 1 of 2: e", "Wave 2 of 2: d c"],
        ),
        ("waves of a number", waves(Waves::Count(2)), vec!["Wave 1 of 2: e d", "Wave 2 of 2: c b a"]),
        (
            "waves of sizes, the last again",
            waves(Waves::Sizes(vec![1, 2])),
            vec!["Wave 1 of 3: e", "Wave 2 of 3: d c", "Wave 3 of 3: b a"],
        ),
        (
            "all are canaries",
            RunOptions { canary: Some(canary(&five)), ..RunOptions::default() },
            vec!["Canary: e d c b a"],
        ),
    ] {
        assert_eq!(groups(&five, options), expected, "{what}");
    }
    assert_eq!(groups(&["a", "a"], RunOptions::default()), ["All hosts: a"], "a host that is named twice goes once");
}

#[test]
fn what_is_wrong_is_said_all_at_once() {
    let registry = Registry::default();
    let all_wrong = RunOptions {
        canary: Some(canary(&["x"])),
        waves: Some(Waves::Sizes(vec![0])),
        parallel: Some(0),
        wait_s: Some(10_000_000),
        args: [
            (Op::Gc, json!({}).as_object().unwrap().clone()),
            (Op::BumpFlake, json!({ "input": 1 }).as_object().unwrap().clone()),
        ]
        .into(),
        ..RunOptions::default()
    };
    let BadRun(wrong) =
        draft(registry.get("update").unwrap(), wanted(&["a"], all_wrong), |_| Vec::new(), START).unwrap_err();
    for said in ["parallel", "wait_s", "waves", "canary: x", "gc is no op", "bump-flake takes no \"input\""] {
        assert!(wrong.iter().any(|sentence| sentence.contains(said)), "{said}: {wrong:?}");
    }
    for (options, said) in [
        (RunOptions { soak_s: 60, ..RunOptions::default() }, "soak_s"),
        (RunOptions { waves: Some(Waves::Count(3)), ..RunOptions::default() }, "3 waves are more than"),
        (RunOptions { canary: Some(Canary::default()), ..RunOptions::default() }, "hosts or a tag"),
        (
            RunOptions {
                canary: Some(Canary { hosts: Vec::new(), tag: Some("none".to_owned()) }),
                ..RunOptions::default()
            },
            "none of the hosts has the tag",
        ),
    ] {
        let error =
            draft(registry.get("do-all").unwrap(), wanted(&["a", "b"], options), |_| Vec::new(), START).unwrap_err();
        assert!(error.0.join(" ").contains(said), "{error:?}");
    }
    let nobody = draft(registry.get("do-all").unwrap(), wanted(&[], RunOptions::default()), |_| Vec::new(), START);
    assert!(nobody.unwrap_err().0[0].contains("at least one host"));
}

#[test]
fn arguments_of_a_run_stand_on_top_of_the_pipelines() {
    let registry = Registry::default();
    let args = [(Op::BumpFlake, json!({ "inputs": ["nixpkgs"] }).as_object().unwrap().clone())].into();
    let options = RunOptions { args, ..RunOptions::default() };
    let run = draft(registry.get("update").unwrap(), wanted(&["a"], options), |_| Vec::new(), START).unwrap();
    assert_eq!(run.record.stages[1].args, r#"{"inputs":["nixpkgs"]}"#);
    let parallel = Known::configured("slow", &[Op::Switch], "", Some(1)).unwrap();
    let run = draft(&parallel, wanted(&["a"], RunOptions::default()), |_| Vec::new(), START).unwrap();
    assert_eq!(run.record.options.parallel, Some(1), "the pipeline's own, where the run says nothing");
}

use super::*;

#[test]
fn every_op_has_its_own_entry() {
    let entries: Vec<_> = registry().collect();
    assert_eq!(entries.len(), Op::ALL.len());
    for (op, entry) in Op::ALL.iter().zip(&entries) {
        assert_eq!(entry.id, *op);
    }
}

#[test]
fn every_entry_is_whole() {
    for entry in registry() {
        let op = entry.id;
        assert!(!entry.label.is_empty() && entry.description.ends_with('.'), "{op}");
        assert!(registry().filter(|other| other.label == entry.label).count() == 1, "{op}: two buttons alike");
        assert_eq!(entry.totp, entry.pre.contains(&PreCheck::Totp), "{op}");
        assert_eq!(entry.warn.is_some(), entry.hard.is_some(), "{op}");
        assert!(entry.warn <= entry.hard, "{op}");
        assert_eq!(entry.takes_slot, entry.pre.contains(&PreCheck::Idle), "{op}: who takes the slot needs it free");
        match entry.runs_on {
            RunsOn::Agent => assert_eq!(entry.pre[..2], [PreCheck::Online, PreCheck::Supported], "{op}"),
            RunsOn::Dashboard => {
                assert!(!entry.takes_slot && entry.compartment.is_none() && !entry.interrupts_link, "{op}");
            }
        }
        if let Some(words) = entry.confirm {
            assert!(words.ends_with('.'), "{op}");
            assert_eq!(words.contains("{host}"), entry.per_host, "{op}");
        }
    }
}

/// The table of the specification: where it runs, limits, retry.
#[test]
fn limits_are_as_specified() {
    for (op, runs_on, limits, retry) in [
        (Op::Pull, "agent", Some((120, 300)), true),
        (Op::Switch, "agent", Some((600, 1800)), true),
        (Op::Test, "agent", Some((300, 600)), true),
        (Op::Rollback, "agent", Some((300, 900)), false),
        (Op::Restart, "agent", Some((30, 120)), true),
        (Op::Reboot, "agent", Some((120, 600)), false),
        (Op::CheckVersion, "agent", Some((10, 30)), true),
        (Op::RefreshGit, "dashboard", Some((10, 30)), true),
        (Op::RefreshLock, "agent", Some((10, 30)), true),
        (Op::RefreshSystem, "agent", Some((120, 600)), true),
        (Op::Plan, "agent", Some((600, 1800)), true),
        (Op::BumpFlake, "agent", Some((60, 300)), true),
        (Op::ForceRebuild, "agent", Some((600, 1800)), true),
        (Op::Gc, "agent", Some((600, 3600)), true),
        (Op::Exec, "agent", Some((60, 600)), false),
        (Op::Journal, "agent", None, true),
        (Op::MergePr, "dashboard", Some((30, 60)), true),
        (Op::RevertPr, "dashboard", Some((30, 60)), false),
        (Op::SetColor, "dashboard", None, true),
        (Op::SetTags, "dashboard", None, true),
        (Op::Wake, "dashboard", Some((60, 300)), true),
        (Op::Remove, "dashboard", None, false),
    ] {
        let entry = spec(op).entry();
        assert_eq!(
            (entry.runs_on.as_str(), entry.warn_s.zip(entry.hard_s), entry.retry),
            (runs_on, limits, retry),
            "{op}"
        );
    }
}

#[test]
fn what_is_special_is_said() {
    let those = |which: fn(&OpSpec) -> bool| -> Vec<Op> {
        registry().filter(|entry| which(entry)).map(|entry| entry.id).collect()
    };
    assert_eq!(those(|entry| entry.totp), [Op::Reboot]);
    assert_eq!(those(|entry| entry.scope == Scope::Admin), [Op::Exec]);
    assert_eq!(those(|entry| !entry.per_host), [Op::RefreshGit, Op::MergePr, Op::RevertPr]);
    assert_eq!(
        those(|entry| entry.interrupts_link),
        [Op::Switch, Op::Rollback, Op::Restart, Op::Reboot, Op::ForceRebuild]
    );
    assert_eq!(those(|entry| entry.runs_on == RunsOn::Agent && !entry.takes_slot), [Op::Journal]);
    assert_eq!(
        those(|entry| entry.runs_on == RunsOn::Agent && !entry.known_to(2)),
        [Op::Plan, Op::BumpFlake, Op::ForceRebuild, Op::Gc, Op::Exec, Op::Journal]
    );
    assert!(registry().all(|entry| entry.known_to(3)));
}

#[test]
fn a_v2_agent_gets_words_that_it_knows() {
    const KNOWN: &[&str] = &[
        "pull",
        "switch",
        "pull-switch",
        "test",
        "rollback",
        "update",
        "force-update",
        "check-version",
        "refresh-git",
        "refresh-lock",
        "refresh-system",
        "refresh-all",
        "stop",
        "restart",
        "reboot",
    ];
    for word in registry().filter_map(|entry| entry.v2) {
        assert!(KNOWN.contains(&word), "{word}");
    }
}

#[test]
fn a_confirmation_names_the_host() {
    assert_eq!(
        spec(Op::Reboot).confirm_on("hsb0").as_deref(),
        Some("hsb0 reboots now. Everything that runs on it is interrupted.")
    );
    assert_eq!(spec(Op::Pull).confirm_on("hsb0"), None);
}

#[test]
fn the_pipelines_are_as_specified() {
    let listed: Vec<(&str, Vec<Op>)> =
        pipelines().iter().map(|pipeline| (pipeline.name, pipeline.ops().collect())).collect();
    assert_eq!(
        listed,
        [
            ("pull-switch", vec![Op::Pull, Op::Switch]),
            ("do-all", vec![Op::Pull, Op::Switch, Op::Test]),
            ("merge-deploy", vec![Op::MergePr, Op::Pull, Op::Switch, Op::Test]),
            ("update-agent", vec![Op::Pull, Op::BumpFlake, Op::Switch, Op::Restart]),
            ("update", vec![Op::Pull, Op::BumpFlake, Op::Switch]),
            ("force-update", vec![Op::ForceRebuild, Op::Restart]),
        ]
    );
    for entry in pipelines() {
        assert_eq!(pipeline(entry.name), Some(entry));
        assert!(!entry.label.is_empty() && entry.description.ends_with('.'));
        for (op, args) in entry.stages {
            let args: serde_json::Value = serde_json::from_str(args).unwrap();
            assert_eq!(args.get("inputs").is_some(), *op == Op::BumpFlake, "{}", entry.name);
        }
    }
    assert_eq!(pipeline("nothing"), None);
}

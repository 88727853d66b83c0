//! The plans of all ops on all platforms, as tables of argument vectors.

use super::*;
use crate::ops::deployed::DeployedRecord;
use crate::ops::situation::CheckoutState;
use crate::ops::step::{Expectation, Remember};
use crate::record::tests_support::settings;
use nixfleet_protocol::Time;
use nixfleet_protocol::agent::Deployed;

fn present() -> Situation {
    Situation {
        checkout: CheckoutState::Present { ours: true },
        checkout_dir: "/repo".into(),
        switch: Some("/repo/hosts/h1/switch".into()),
        home_name: Some("user@h1".into()),
        home_names: vec!["user@h1".into(), "user".into()],
        previous_home: Some("/home/user/profiles/home-manager-9-link/activate".into()),
        system_path: Some("/nix/store/now".into()),
        profile_path: Some("/nix/store/named".into()),
        plan: Some("/repo/hosts/h1/plan".into()),
        lock_inputs: Some(vec!["nixfleet".into(), "nixpkgs".into()]),
        ..Situation::default()
    }
}

fn deployed(commits: &[&str]) -> DeployedRecord {
    let mut record = DeployedRecord::default();
    for commit in commits {
        record.switched(Deployed {
            commit: commit.repeat(8).parse().unwrap(),
            lock_hash: None,
            system_path: None,
            number: None,
            at: Time::from_millis(0),
        });
    }
    record
}

/// Steps as short texts: the argument vector, or the name of what is done.
fn told(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .map(|step| match &step.action {
            Action::Run(invocation)
            | Action::Activate(invocation)
            | Action::RunPlan(invocation)
            | Action::Evaluate(invocation)
            | Action::UpdateInputs { invocation, .. }
            | Action::CollectGarbage { invocation, .. } => invocation.argv.join(" "),
            Action::RunFirst(some) => some.iter().map(|one| one.argv.join(" ")).collect::<Vec<_>>().join(" or "),
            Action::Build(invocation) => format!("build: {}", invocation.argv.last().unwrap()),
            Action::Tests(cases) => cases.iter().map(|case| case.name.clone()).collect::<Vec<_>>().join(" then "),
            Action::MakeClone => "make the clone".into(),
            Action::RemoveClone => "remove the clone".into(),
            Action::RemoveStaleLocks => "remove stale locks".into(),
            Action::Expect(Expectation::Built) => "expect the built system".into(),
            Action::Expect(Expectation::WentBack { running, profile, .. }) => {
                format!("expect other than {}, {}", running.as_deref().unwrap(), profile.as_deref().unwrap())
            }
            Action::Compare => "compare".into(),
            Action::Remember(Remember::Deployed) => "remember".into(),
            Action::Remember(Remember::WentBack { to }) => {
                format!("remember the way back to {}", to.as_ref().map_or("that system", |commit| commit.as_str()))
            }
            Action::AwaitReboot => "await the reboot".into(),
        })
        .collect()
}

fn plan_of(op: Op, platform: Platform, now: &Situation) -> Vec<String> {
    told(&plan(op, None, &settings(platform), now).unwrap())
}

#[test]
fn a_switch_builds_first_and_then_looks_whether_the_built_system_runs() {
    for (platform, build, activation) in [
        (
            Platform::Nixos,
            "build: /repo#nixosConfigurations.\"h1\".config.system.build.toplevel",
            "nixos-rebuild switch --flake /repo#h1 --log-format internal-json",
        ),
        (
            Platform::NixDarwin,
            "build: /repo#darwinConfigurations.\"h1\".system",
            "darwin-rebuild switch --flake /repo#h1 --log-format internal-json",
        ),
        (
            Platform::HomeManager,
            "build: /repo#homeConfigurations.\"user@h1\".activationPackage",
            "home-manager switch --flake /repo#user@h1",
        ),
    ] {
        let steps = plan_of(Op::Switch, platform, &present());
        assert_eq!(steps, [build, activation, "expect the built system", "remember"], "{platform:?}");
    }
}

#[test]
fn a_rollback_looks_whether_another_system_runs() {
    for (platform, activation) in [
        (Platform::Nixos, "nixos-rebuild switch --rollback"),
        (Platform::NixDarwin, "darwin-rebuild --rollback"),
        (Platform::HomeManager, "/home/user/profiles/home-manager-9-link/activate"),
    ] {
        let steps = plan_of(Op::Rollback, platform, &present());
        let wanted =
            [activation, "expect other than /nix/store/now, /nix/store/named", "remember the way back to that system"];
        assert_eq!(steps, wanted, "{platform:?}");
    }
}

#[test]
fn scripts_switch_and_roll_back() {
    let now = present();
    assert_eq!(plan_of(Op::Switch, Platform::Script, &now), ["/repo/hosts/h1/switch", "remember"]);
    let none = Situation { switch: None, ..present() };
    assert!(
        plan(Op::Switch, None, &settings(Platform::Script), &none).unwrap_err().message.contains("hosts/h1/switch")
    );

    let refusal = plan(Op::Rollback, None, &settings(Platform::Script), &now).unwrap_err();
    assert_eq!(refusal.message, "there is no earlier deployment to go back to");
    let now = Situation { deployed: deployed(&["a", "b"]), ..present() };
    assert_eq!(
        plan_of(Op::Rollback, Platform::Script, &now),
        [
            "git -C /repo reset --hard aaaaaaaa",
            "/repo/hosts/h1/switch or /repo/switch",
            "remember the way back to aaaaaaaa",
        ]
    );
    let now = Situation { rollback: Some("/repo/hosts/h1/rollback".into()), ..now };
    assert_eq!(
        plan_of(Op::Rollback, Platform::Script, &now),
        ["/repo/hosts/h1/rollback", "remember the way back to aaaaaaaa"]
    );
}

#[test]
fn our_own_clone_is_made_fetched_or_made_anew() {
    let fetch = [
        "git -C /repo fetch --prune --no-tags --progress origin +refs/heads/main:refs/remotes/origin/main",
        "git -C /repo symbolic-ref HEAD refs/heads/main",
        "git -C /repo reset --hard refs/remotes/origin/main",
        "git -C /repo clean -ffd",
    ];
    for (checkout, before) in [
        (CheckoutState::Absent, &["make the clone"][..]),
        (CheckoutState::Present { ours: true }, &["remove stale locks"]),
        (CheckoutState::Broken, &["remove the clone", "make the clone"]),
    ] {
        let steps = plan_of(Op::Pull, Platform::Script, &Situation { checkout, ..present() });
        assert_eq!(steps, [before, &fetch].concat(), "{checkout:?}");
    }
    for checkout in [CheckoutState::Present { ours: false }, CheckoutState::Occupied] {
        let refused = plan(Op::Pull, None, &settings(Platform::Script), &Situation { checkout, ..present() });
        assert_eq!(refused.unwrap_err().stage, Stage::Checkout, "{checkout:?}");
    }
}

#[test]
fn the_operators_checkout_is_never_forced() {
    let host = HostSettings { repo_url: None, ..settings(Platform::Script) };
    let now = Situation { checkout: CheckoutState::Present { ours: false }, ..present() };
    assert_eq!(told(&plan(Op::Pull, None, &host, &now).unwrap()), ["git -C /repo pull --ff-only"]);
    let detached = Situation { detached: true, ..now.clone() };
    let steps = told(&plan(Op::Pull, None, &host, &detached).unwrap());
    assert_eq!(steps, ["git -C /repo checkout main", "git -C /repo pull --ff-only"]);
    let changed = Situation { local_changes: vec!["M flake.nix".into()], ..now.clone() };
    let refusal = plan(Op::Pull, None, &host, &changed).unwrap_err();
    assert!(refusal.message.contains("commit, stash or drop") && refusal.message.contains("M flake.nix"));
    let absent = Situation { checkout: CheckoutState::Absent, ..now };
    assert!(plan(Op::Pull, None, &host, &absent).unwrap_err().message.contains("no git checkout"));
}

#[test]
fn the_remotes_address_stands_in_no_argument_vector() {
    let host = HostSettings { repo_url: Some("https://u:geheim@x.org/r".into()), ..settings(Platform::Script) };
    for checkout in [CheckoutState::Absent, CheckoutState::Broken, CheckoutState::Present { ours: true }] {
        let steps = plan(Op::Pull, None, &host, &Situation { checkout, ..present() }).unwrap();
        assert!(told(&steps).iter().all(|step| !step.contains("geheim")));
    }
}

#[test]
fn tests_run_in_the_order_of_their_names_with_a_limit() {
    let now =
        Situation { tests: vec!["/repo/hosts/h1/tests/1.sh".into(), "/repo/hosts/h1/tests/2.sh".into()], ..present() };
    let steps = plan(Op::Test, None, &settings(Platform::Script), &now).unwrap();
    assert_eq!(told(&steps), ["1.sh then 2.sh"]);
    let Action::Tests(cases) = &steps[0].action else { panic!("no tests") };
    assert!(cases.iter().all(|case| case.invocation.limit == Some(std::time::Duration::from_mins(1))));
}

#[test]
fn without_a_checkout_nothing_is_deployed_or_tested() {
    for checkout in [CheckoutState::Absent, CheckoutState::Broken] {
        let now = Situation { checkout, ..present() };
        for op in [Op::Switch, Op::Test, Op::Rollback] {
            assert_eq!(plan(op, None, &settings(Platform::Script), &now).unwrap_err().stage, Stage::Checkout);
        }
    }
}

#[test]
fn a_reboot_is_the_configured_program_and_then_patience() {
    let steps = plan_of(Op::Reboot, Platform::Nixos, &present());
    assert_eq!(steps, ["systemctl reboot", "await the reboot"]);
}

#[test]
fn a_build_is_kept_from_the_garbage_collector_and_logs_as_json() {
    let steps = plan(Op::Switch, None, &settings(Platform::Nixos), &present()).unwrap();
    let Action::Build(invocation) = &steps[0].action else { panic!("no build") };
    assert_eq!(
        invocation.argv[..9],
        [
            "nix",
            "--extra-experimental-features",
            "nix-command flakes",
            "build",
            "--json",
            "--out-link",
            "built",
            "--log-format",
            "internal-json"
        ]
    );
    // In the command's own directory, which is no place of anybody else.
    assert_eq!(invocation.dir, None);
}

#[test]
fn a_forced_rebuild_is_a_switch_past_the_caches() {
    for (platform, tool) in [
        (Platform::Nixos, "nixos-rebuild switch --flake /repo#h1 --log-format internal-json"),
        (Platform::NixDarwin, "darwin-rebuild switch --flake /repo#h1 --log-format internal-json"),
        (Platform::HomeManager, "home-manager switch --flake /repo#user@h1"),
    ] {
        let past = "--option narinfo-cache-positive-ttl 0 --option narinfo-cache-negative-ttl 0 \
                    --option tarball-ttl 0 --option eval-cache false";
        let steps = plan(Op::ForceRebuild, None, &settings(platform), &present()).unwrap();
        let Action::Build(build) = &steps[0].action else { panic!("no build") };
        assert!(build.argv.join(" ").contains(past), "{platform:?} {build:?}");
        assert_eq!(told(&steps)[1], format!("{tool} {past}"), "{platform:?}");
        assert_eq!(told(&steps)[2..], ["expect the built system", "remember"]);
    }
}

#[test]
fn a_plan_builds_and_compares_and_a_refresh_only_evaluates() {
    for (platform, attribute) in [
        (Platform::Nixos, "nixosConfigurations.\"h1\".config.system.build.toplevel"),
        (Platform::NixDarwin, "darwinConfigurations.\"h1\".system"),
        (Platform::HomeManager, "homeConfigurations.\"user@h1\".activationPackage"),
    ] {
        assert_eq!(
            plan_of(Op::Plan, platform, &present()),
            [format!("build: /repo#{attribute}"), "compare".to_owned()],
            "{platform:?}"
        );
        assert_eq!(
            plan_of(Op::RefreshSystem, platform, &present()),
            [format!(
                "nix --extra-experimental-features nix-command flakes eval --raw --log-format internal-json \
                 /repo#{attribute}.outPath"
            )],
            "{platform:?}"
        );
    }
    let nobody = Situation { home_name: None, ..present() };
    for op in [Op::Switch, Op::Plan, Op::RefreshSystem, Op::ForceRebuild] {
        let refusal = plan(op, None, &settings(Platform::HomeManager), &nobody).unwrap_err();
        assert_eq!(refusal.stage, Stage::Evaluation);
        assert!(refusal.message.contains("user@h1, user"), "{refusal}");
    }
    assert_eq!(plan_of(Op::Plan, Platform::Script, &present()), ["/repo/hosts/h1/plan"]);
    let none = Situation { plan: None, ..present() };
    let refusal = plan(Op::Plan, None, &settings(Platform::Script), &none).unwrap_err();
    assert!(refusal.message.contains("hosts/h1/plan"), "{refusal}");
}

#[test]
fn inputs_are_updated_in_the_words_of_the_version_of_nix() {
    use crate::ops::situation::NixVersion;
    let bump = |version, args: serde_json::Value| {
        let now = Situation { nix_version: version, ..present() };
        plan(Op::BumpFlake, Some(&args), &settings(Platform::Nixos), &now)
    };
    let (old, new) = (Some(NixVersion(2, 8)), Some(NixVersion(2, 19)));
    let nix = "nix --extra-experimental-features nix-command flakes flake";
    for (version, args, wanted) in [
        (old, serde_json::json!({}), "lock --update-input nixfleet"),
        (new, serde_json::json!({}), "update nixfleet"),
        (None, serde_json::json!({}), "update nixfleet"),
        (old, serde_json::json!({ "inputs": "all" }), "update"),
        (new, serde_json::json!({ "inputs": "all" }), "update"),
        (
            old,
            serde_json::json!({ "inputs": ["nixpkgs", "nixfleet/x"] }),
            "lock --update-input nixpkgs --update-input nixfleet/x",
        ),
        (new, serde_json::json!({ "inputs": ["nixpkgs", "nixfleet/x"] }), "update nixpkgs nixfleet/x"),
    ] {
        let steps = bump(version, args.clone()).unwrap();
        assert_eq!(told(&steps), [format!("{nix} {wanted} --log-format internal-json")], "{version:?} {args}");
        let Action::UpdateInputs { invocation, .. } = &steps[0].action else { panic!("no update") };
        assert_eq!(invocation.dir.as_deref(), Some(std::path::Path::new("/repo")));
    }
    let refusal = bump(new, serde_json::json!({ "inputs": ["nixpkgs", "nixpgks"] })).unwrap_err();
    assert_eq!(refusal.message, "flake.lock has no input nixpgks; its inputs are: nixfleet, nixpkgs");
    assert!(bump(new, serde_json::json!({ "inputs": 7 })).unwrap_err().message.contains("not 7"));
    let unlocked = Situation { lock_inputs: None, ..present() };
    assert!(plan(Op::BumpFlake, None, &settings(Platform::Nixos), &unlocked).is_ok());
}

#[test]
fn garbage_is_collected_safely_unless_it_is_said_otherwise() {
    for (args, wanted) in [
        (serde_json::json!(null), "nix-collect-garbage"),
        (serde_json::json!({ "mode": "safe" }), "nix-collect-garbage"),
        (serde_json::json!({ "mode": "aggressive" }), "nix-collect-garbage --delete-old"),
    ] {
        for platform in [Platform::Nixos, Platform::NixDarwin, Platform::HomeManager] {
            let steps = plan(Op::Gc, Some(&args), &settings(platform), &Situation::default()).unwrap();
            assert_eq!(told(&steps), [wanted], "{args} {platform:?}");
        }
        let refusal = plan(Op::Gc, Some(&args), &settings(Platform::Script), &present()).unwrap_err();
        assert!(refusal.message.starts_with("gc is for hosts with Nix"), "{refusal}");
    }
}

#[test]
fn every_op_that_is_offered_has_a_plan_and_no_other() {
    let now = Situation { deployed: deployed(&["a", "b"]), ..present() };
    for platform in [Platform::Nixos, Platform::NixDarwin, Platform::HomeManager, Platform::Script] {
        for op in Op::ALL {
            let planned = plan(*op, None, &settings(platform), &now).is_ok();
            // The agent restarts itself, and what needs no plan is carried out elsewhere.
            let without = *op == Op::Restart || crate::ops::own::OPS.contains(op);
            let offered = crate::ops::is_supported(*op, platform) && !without;
            assert_eq!(planned, offered, "{op} {platform:?}");
        }
    }
}

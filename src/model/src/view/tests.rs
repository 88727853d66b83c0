use nixfleet_protocol::agent::Generation;
use nixfleet_protocol::api::{CommandState, HostState};
use proptest::prelude::*;

use super::*;
use crate::compartments::tests::fixture::{Scene, Step, command, commit};

fn view(scene: &Scene) -> HostView {
    host_view(&scene.standing(), None)
}

#[test]
fn what_people_chose_wins_over_what_the_agent_reports() {
    for (chosen, reported, expected) in [
        (Some("#AABBCC"), Some("#112233"), Some("#aabbcc")),
        (None, Some("#112233"), Some("#112233")),
        (None, None, None),
        (Some("red"), Some("#112233"), Some("#112233")),
        (Some("#12345"), Some("#1122334"), None),
        (Some("#11223é"), Some(""), None),
        (Some("#112233;x"), Some("112233"), None),
    ] {
        let mut scene = Scene::current();
        scene.host.chosen.color = chosen.map(str::to_owned);
        scene.host.facts.theme_color = reported.map(str::to_owned);
        assert_eq!(view(&scene).host.color.as_deref(), expected, "{chosen:?} over {reported:?}");
    }
    let tags = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (chosen, expected) in [(None, tags(&["a"])), (Some(tags(&["b"])), tags(&["b"])), (Some(Vec::new()), Vec::new())]
    {
        let mut scene = Scene::current();
        scene.host.facts.tags = tags(&["a"]);
        scene.host.chosen.tags = chosen;
        assert_eq!(view(&scene).host.tags, expected);
    }
}

#[test]
fn a_view_has_all_that_is_known() {
    let mut scene = Scene::current().after(&[Step::Starts(Op::Test)]);
    scene.host.chosen.comment = Some("in the attic".to_owned());
    scene.host.facts.repo_error = Some(String::new());
    scene.host.facts.failed_units = vec!["web.service".to_owned()];
    let shown = host_view(&scene.standing(), Some("its actor keeps failing")).host;
    assert_eq!(shown.state, HostState::Online);
    assert_eq!(shown.generation, Some(commit(1)));
    assert_eq!(shown.deployed.as_ref().map(|deployed| deployed.commit.clone()), Some(commit(1)));
    assert_eq!(shown.comment.as_deref(), Some("in the attic"));
    assert_eq!(shown.repo_error, None, "an empty text means that all is well again");
    assert_eq!(shown.failed_units, ["web.service"]);
    assert_eq!(shown.command.as_ref().map(|command| command.op), Some(Op::Test));
    assert_eq!(shown.broken.as_deref(), Some("its actor keeps failing"));
    assert_eq!(*shown.lights, scene.lights());
}

#[test]
fn a_host_that_nobody_switched_has_no_deployed_state_even_if_its_system_names_a_commit() {
    let mut scene = Scene::first_connect();
    scene.host.facts.system_revision = Some(commit(1));
    assert_eq!(view(&scene).host.deployed, None);
}

#[test]
fn a_command_that_is_over_is_not_the_hosts_command() {
    let mut scene = Scene::current();
    scene.running = Some(command(3, Op::Test, CommandState::Success, scene.now));
    assert_eq!(view(&scene).host.command, None);
}

#[test]
fn a_host_is_offered_what_would_start_and_refused_the_rest() {
    for (scene, offered) in [
        (
            Scene::current(),
            "test rollback restart reboot check-version refresh-lock refresh-system plan bump-flake force-rebuild gc \
             journal set-color set-tags",
        ),
        (
            Scene::current().after(&[Step::Push]),
            "pull test rollback restart reboot check-version refresh-lock refresh-system plan bump-flake force-rebuild \
             gc journal set-color set-tags",
        ),
        (Scene::current().after(&[Step::Starts(Op::Gc)]), "journal set-color set-tags"),
        (Scene { linked: false, ..Scene::current() }, "set-color set-tags remove"),
        (
            Scene::current_v2(),
            "test rollback restart reboot check-version refresh-lock refresh-system set-color set-tags",
        ),
    ] {
        let view = view(&scene);
        let names: Vec<_> = view.host.offers.iter().map(|op| op.as_str()).collect();
        assert_eq!(names.join(" "), offered);
        for op in Op::ALL {
            let times = view.host.offers.iter().filter(|offer| *offer == op).count()
                + view.refused.iter().filter(|refused| refused.op == *op).count();
            // Of those that are not of a host, or not there yet, nothing is said.
            let said = !matches!(op, Op::RefreshGit | Op::MergePr | Op::RevertPr);
            assert_eq!(times, usize::from(said), "{op}");
        }
    }
}

#[test]
fn what_the_agent_does_not_know_is_refused_for_that_also_while_it_is_away() {
    let mut scene = Scene { linked: false, ..Scene::current() };
    scene.host.facts.features = ["pull", "switch"].into_iter().collect();
    let code = |op: Op| view(&scene).refused.iter().find(|refused| refused.op == op).map(|refused| refused.code);
    assert_eq!(code(Op::Switch), Some("host_offline"));
    assert_eq!(code(Op::Gc), Some("unsupported_by_agent"));
}

#[test]
fn a_reboot_is_not_offered_where_nobody_could_look_at_a_code() {
    let scene = Scene { totp_configured: false, ..Scene::current() };
    let view = view(&scene);
    assert!(!view.host.offers.contains(&Op::Reboot));
    assert!(view.refused.iter().any(|refused| refused.op == Op::Reboot && refused.code == "totp_not_configured"));
}

#[test]
fn a_command_keeps_its_shape_whatever_is_stored() {
    for (args, details, shown_args, shown_details) in [
        ("{}", None, "{}", "null"),
        (r#"{"mode":"safe"}"#, Some(r#"{"freed":1}"#), r#"{"mode":"safe"}"#, r#"{"freed":1}"#),
        ("", Some(""), "{}", "null"),
        ("[1]", Some("2"), "{}", "null"),
        ("{", Some("{"), "{}", "null"),
    ] {
        let mut stored = command(1, Op::Gc, CommandState::Success, Time::default());
        stored.args = args.to_owned();
        stored.details = details.map(str::to_owned);
        let shown = command_view(&stored);
        assert_eq!((shown.args.to_string().as_str(), shown.details.to_string().as_str()), (shown_args, shown_details));
    }
}

#[test]
fn the_remote_has_an_error_exactly_while_git_is_red_for_it() {
    let scene = Scene::current();
    let shown = remote_view(&scene.remote, scene.now);
    assert_eq!(shown.commit, Some(commit(1)));
    assert_eq!(shown.subject.as_deref(), Some("change 1"));
    assert_eq!(shown.error, None);
    let scene = scene.after(&[Step::RemoteFails]);
    let shown = remote_view(&scene.remote, scene.now);
    assert_eq!(shown.error.as_ref(), Some(&scene.lights().git.message));
    assert_eq!(shown.commit, Some(commit(1)), "what was read last is still told");
    assert_eq!(remote_view(&RemoteState::new(None, "main", std::time::Duration::ZERO), scene.now).error, None);
}

proptest! {
    #[test]
    fn only_colours_reach_the_page(text in "#?[0-9a-fA-Fx;\"<é]{0,8}") {
        if let Some(color) = color(&text) {
            prop_assert_eq!(color.len(), 7);
            prop_assert!(color[1..].bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
        }
    }
}

#[test]
fn a_rollback_that_has_nowhere_to_go_is_not_offered_beside_a_light() {
    let offered = |scene: &Scene| {
        let view = host_view(&scene.standing(), None);
        view.host.lights.system.also.iter().any(|action| action.op == Some(Op::Rollback))
    };
    let mut failed = Scene::current().after(&[Step::Push, Step::Pull, Step::SwitchFails]);
    assert!(offered(&failed), "there is an earlier generation");
    failed.host.facts.generations = [Generation { number: 1, commit: None, at: None, current: true }].into();
    assert!(!offered(&failed));
}

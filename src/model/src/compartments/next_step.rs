//! The single op that a click starts where the light means a pipeline. Runs of pipelines are not there yet, and a
//! click must not end at a wall: so its first step that has something to do is offered instead. The same for what
//! this dashboard or this agent can't do.
//!
//! Runs come with an actor of their own. Then this file goes, with its calls in `view.rs` and `checks.rs`.

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Action, ActionKind, Light, Lights};

use super::actions;
use super::seen::Seen;
use crate::checks::can;
use crate::ops::{MERGE_DEPLOY, UPDATE_AGENT};

/// What is offered instead of an action; itself where it can be started, nothing where there is nothing.
pub(crate) fn of(action: Action, seen: &Seen<'_>) -> Option<Action> {
    let action = match &action.pipeline {
        Some(name) if name == UPDATE_AGENT.name && seen.is_pulled() && seen.is_switched() => {
            return Some(actions::help("How to update the agent"));
        }
        Some(name) if name == UPDATE_AGENT.name && seen.is_pulled() => actions::start(Op::Switch),
        Some(name) if name == MERGE_DEPLOY.name => return None,
        Some(_) => actions::start(Op::Pull),
        None => action,
    };
    action.op.is_none_or(|op| can(op, seen.host)).then_some(action)
}

/// The same for all that the lights offer.
pub(crate) fn of_lights(mut lights: Lights, seen: &Seen<'_>) -> Lights {
    for light in [&mut lights.agent, &mut lights.git, &mut lights.lock, &mut lights.system, &mut lights.tests] {
        of_light(light, seen);
    }
    lights
}

fn of_light(light: &mut Light, seen: &Seen<'_>) {
    light.action = of(light.action.clone(), seen).unwrap_or_else(actions::details);
    let mut also: Vec<Action> = Vec::new();
    for action in light.also.drain(..).filter_map(|action| of(action, seen)) {
        let same = |other: &Action| other.kind == ActionKind::Op && other.op == action.op;
        if !same(&light.action) && !also.iter().any(same) {
            also.push(action);
        }
    }
    // There is one for each host of the fleet.
    also.shrink_to_fit();
    light.also = also;
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::api::Lights;

    use super::*;
    use crate::compartments::tests::fixture::{Scene, Step};

    fn clicks(scene: &Scene) -> Vec<String> {
        let shown = |action: &Action| match (&action.op, &action.pipeline) {
            (Some(op), _) => op.to_string(),
            (None, Some(pipeline)) => format!("pipeline {pipeline}"),
            (None, None) => format!("{:?}", action.kind).to_lowercase(),
        };
        let lights: Lights = of_lights(scene.lights(), &Seen::of(&scene.sight()));
        let words = |light: &Light| std::iter::once(&light.action).chain(&light.also).map(shown).collect::<Vec<_>>();
        lights.each().into_iter().map(|(_, light)| words(light).join(" ")).collect()
    }

    #[test]
    fn a_pipeline_is_its_first_step_that_has_something_to_do() {
        let old = |mut scene: Scene| {
            scene.host.facts.agent_version = Some("0.1.0".to_owned());
            scene
        };
        let rows: Vec<(&str, Scene, [&str; 5])> = vec![
            ("current", Scene::current(), ["details", "details", "details", "details", "log"]),
            ("pushed", Scene::current().after(&[Step::Push]), ["details", "pull", "details", "pull", "log"]),
            ("lock pushed", Scene::current().after(&[Step::PushLock]), ["details", "pull", "pull", "pull", "log"]),
            (
                "pulled",
                Scene::current().after(&[Step::Push, Step::Pull]),
                ["details", "details", "details", "switch", "log"],
            ),
            (
                "the fix of a failed switch waits",
                Scene::current().after(&[Step::Push, Step::Pull, Step::SwitchFails, Step::Push]),
                ["details", "pull", "details", "log pull switch rollback", "log"],
            ),
            ("agent old", old(Scene::current()), ["help", "details", "details", "details", "log"]),
            (
                "agent old, pushed",
                old(Scene::current().after(&[Step::Push])),
                ["pull", "pull", "details", "pull", "log"],
            ),
            (
                "agent old, pulled",
                old(Scene::current().after(&[Step::Push, Step::Pull])),
                ["switch", "details", "details", "switch", "log"],
            ),
        ];
        for (what, scene, expected) in rows {
            assert_eq!(clicks(&scene), expected, "{what}");
        }
    }

    #[test]
    fn what_the_agent_does_not_know_is_not_offered() {
        let mut scene = Scene::current();
        scene.host.facts.lock_hash = None;
        assert_eq!(clicks(&scene)[3], "refresh-lock");
        scene.host.facts.features = ["pull", "switch"].into_iter().collect();
        assert_eq!(clicks(&scene)[3], "details");
    }
}

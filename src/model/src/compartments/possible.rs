//! What is offered is possible: an op or a pipeline that the host's agent does not know is not offered on it.

use nixfleet_protocol::api::{Action, Light, Lights};

use super::actions;
use crate::checks::can;
use crate::host::HostRecord;
use crate::ops::{RunsOn, UPDATE_AGENT, pipeline, spec};

/// The action, where this host's agent can do it; else what takes its place, or nothing.
pub(crate) fn of(action: Action, host: &HostRecord) -> Option<Action> {
    let agents = |op| spec(op).runs_on == RunsOn::Agent;
    let fits = match (&action.op, &action.pipeline) {
        (Some(op), _) => can(*op, host),
        (None, Some(name)) => {
            pipeline(name).is_none_or(|known| known.ops().filter(|op| agents(*op)).all(|op| can(op, host)))
        }
        (None, None) => true,
    };
    let by_hand = action.pipeline.as_deref() == Some(UPDATE_AGENT.name);
    if fits { Some(action) } else { by_hand.then(|| actions::help("How to update the agent")) }
}

/// The same for all that the lights offer.
pub(crate) fn of_lights(mut lights: Lights, host: &HostRecord) -> Lights {
    for light in [&mut lights.agent, &mut lights.git, &mut lights.lock, &mut lights.system, &mut lights.tests] {
        of_light(light, host);
    }
    lights
}

fn of_light(light: &mut Light, host: &HostRecord) {
    light.action = of(light.action.clone(), host).unwrap_or_else(actions::details);
    let mut also: Vec<Action> = Vec::new();
    for action in light.also.drain(..).filter_map(|action| of(action, host)) {
        let same = |other: &Action| {
            other.kind == action.kind && (&other.op, &other.pipeline) == (&action.op, &action.pipeline)
        };
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
    use super::*;
    use crate::compartments::tests::fixture::Scene;

    fn clicks(scene: &Scene) -> Vec<String> {
        let shown = |action: &Action| match (&action.op, &action.pipeline) {
            (Some(op), _) => op.to_string(),
            (None, Some(pipeline)) => format!("pipeline {pipeline}"),
            (None, None) => format!("{:?}", action.kind).to_lowercase(),
        };
        let lights = of_lights(scene.lights(), &scene.host);
        lights.each().into_iter().map(|(_, light)| shown(&light.action)).collect()
    }

    #[test]
    fn what_the_agent_does_not_know_is_not_offered() {
        let mut scene = Scene::current();
        scene.host.facts.lock_hash = None;
        assert_eq!(clicks(&scene)[3], "refresh-lock");
        scene.host.facts.features = ["pull", "switch"].into_iter().collect();
        assert_eq!(clicks(&scene)[3], "details");
    }

    #[test]
    fn a_pipeline_is_offered_where_the_agent_knows_all_of_it() {
        let mut scene = Scene::current();
        scene.host.facts.agent_version = Some("0.1.0".to_owned());
        assert_eq!(clicks(&scene)[0], "pipeline update-agent");
        scene.host.facts.features = ["pull", "switch"].into_iter().collect();
        assert_eq!(clicks(&scene)[0], "help", "it knows no bump-flake: the agent is updated by hand");
    }
}

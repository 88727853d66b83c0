//! The plan of a host without nix, and what is refused there.

use nixfleet_protocol::agent::details::Details;
use serde_json::json;

use crate::world::{World, new_id};

#[tokio::test]
async fn a_repositorys_own_plan_is_reported_and_changes_nothing() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/plan", "#!/bin/sh\necho would restart nginx; echo careful >&2; echo 2 files differ\n")]);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert!(link.register.features.iter().any(|has| has == "plan"));
    world.dashboard.run(&mut link, "pull").await;
    let id = world.dashboard.run(&mut link, "plan").await;
    let result = world.dashboard.of(id).result();
    assert_eq!((result.exit_code, result.message.as_deref()), (Some(0), Some("the plan has 2 lines")));
    let plan = Details::read(result.details.as_ref().unwrap()).plan.unwrap();
    assert_eq!(
        (plan.notes.items, plan.notes.left_out),
        (vec!["would restart nginx".into(), "2 files differ".into()], 0)
    );
    assert!(result.deployed.is_none());
    let mut lines = world.dashboard.of(id).lines();
    lines.sort();
    assert_eq!(lines, ["2 files differ", "careful", "would restart nginx"]);

    world.commit(&[("hosts/h1/plan", "#!/bin/sh\necho no idea >&2; exit 3\n")]);
    world.dashboard.run(&mut link, "pull").await;
    let id = world.dashboard.run(&mut link, "plan").await;
    let result = world.dashboard.of(id).result();
    assert_eq!(result.exit_code, Some(3));
    assert!(result.message.as_ref().unwrap().contains("no idea"), "{result:?}");
}

#[tokio::test]
async fn what_needs_nix_is_no_feature_of_a_host_without_it() {
    let mut world = World::new().await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    for op in ["gc", "bump-flake", "force-rebuild", "refresh-system"] {
        assert!(!link.register.features.iter().any(|has| has == op), "{op}");
        world.dashboard.order_with(&mut link, new_id(), op, json!({})).await;
        world.dashboard.until(&mut link, "the refusal", |dashboard| !dashboard.rejected.is_empty()).await;
        assert_eq!(world.dashboard.rejected.pop().unwrap().reason, "unsupported", "{op}");
    }
}

//! Ops on the platform `script`, from order to result.

use crate::world::{World, git, new_id};

#[tokio::test]
async fn pull_switch_and_test_work_from_nothing() {
    let mut world = World::new().await;
    let commit = world.commit(&[("hosts/h1/tests/10-good.sh", "#!/bin/sh\necho fine\n")]);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.hostname, "h1");
    assert_eq!(link.register.protocol, Some(3));
    assert!(link.register.journal.is_some() && link.register.instance.is_some());
    let pull = world.dashboard.run(&mut link, "pull").await;
    let result = world.dashboard.of(pull).result();
    assert_eq!((result.exit_code, result.status.as_str()), (Some(0), "ok"), "{result:?}");
    assert_eq!(result.generation.as_ref().unwrap().as_str(), commit);
    assert!(result.lock_hash.is_some());
    let switch = world.dashboard.run(&mut link, "switch").await;
    let kept = world.dashboard.of(switch);
    assert_eq!(kept.result().exit_code, Some(0), "{:?}", kept.result());
    assert_eq!(kept.lines(), ["hello from the switch"]);
    assert_eq!(kept.accepted, 1);
    assert_eq!(kept.result().deployed.as_ref().unwrap().commit.as_str(), commit);
    let test = world.dashboard.run(&mut link, "test").await;
    let result = world.dashboard.of(test).result();
    assert_eq!(result.exit_code, Some(0));
    assert_eq!(result.details.as_ref().unwrap()["passed"], 1);
    world.dashboard.heartbeats.clear();
    world.dashboard.until(&mut link, "a heartbeat", |dashboard| !dashboard.heartbeats.is_empty()).await;
    assert_eq!(git(&world.checkout(), &["rev-parse", "HEAD"]), commit);
    let _ = new_id();
}

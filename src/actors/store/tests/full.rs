//! A full disk is a state: nothing is acknowledged, everyone is told, and it goes on when there is room.

use super::super::disk::NO_RESERVE;
use super::mounts::{Mounted, skipped};
use super::*;

/// Commits numbered commands until one is refused; gives how many were acknowledged, and why it ended.
async fn commit_until_refused(store: &StoreHandle, from: u128) -> (u128, StoreError) {
    for number in from.. {
        let mut command = a_command(number, Some("hsb0"), CommandState::Success);
        command.details = Some("x".repeat(20_000));
        let begun = std::time::Instant::now();
        if let Err(error) = store.commit_once(writes(vec![put_command(command)])).await {
            assert!(begun.elapsed() < Duration::from_secs(2), "who asks is told at once");
            return (number - 1, error);
        }
    }
    unreachable!("the disk is endless")
}

async fn full_and_back(name: &str, reserve: bool) {
    let mounted = match Mounted::tmpfs("size=12m") {
        Ok(mounted) => mounted,
        Err(reason) => return skipped(name, &reason),
    };
    let (dir, ballast) = (mounted.path().join("data"), mounted.path().join("ballast"));
    std::fs::create_dir(&dir).unwrap();
    if !reserve {
        std::fs::write(dir.join(NO_RESERVE), "").unwrap();
    }
    std::fs::write(&ballast, vec![0; 6 << 20]).unwrap();

    let store = Running::open(&dir).await;
    let (acknowledged, error) = commit_until_refused(&store.handle, 1).await;
    println!("{name}: {acknowledged} acknowledged, then: {error}");
    assert!(acknowledged > 0 && matches!(error, StoreError::CantWrite(_)), "{error}");
    // It stays refused, quickly, and nothing dies of it.
    for _ in 0..5 {
        let error = store.handle.commit_once(writes(vec![put_host("hsb0")])).await.unwrap_err();
        assert!(matches!(error, StoreError::CantWrite(_)), "{error}");
        assert!(store.handle.probe(Duration::from_secs(5)).await.is_err());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(store.health.lock().unwrap().last().unwrap().is_some(), "the page is told");
    if reserve {
        assert_eq!(store.handle.commands(None, None, 1).await.unwrap().len(), 1, "reading goes on");
    }
    // Who is patient waits through it.
    let patient = store.handle.clone();
    let waiting = tokio::spawn(async move { patient.commit(writes(vec![put_host("patient")])).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());

    std::fs::remove_file(&ballast).unwrap();
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(store.health.lock().unwrap().last().unwrap(), &None, "the page is told");
    store.handle.probe(Duration::from_secs(5)).await.unwrap();
    store.handle.commit_once(writes(vec![put_host("after")])).await.unwrap();
    store.stop().await;

    let store = Running::open(&dir).await;
    let loaded = store.handle.load().await.unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    for number in 1..=acknowledged {
        let command = store.handle.command(id(number)).await.unwrap();
        assert_eq!(command.unwrap().details.unwrap().len(), 20_000, "command {number}");
    }
    assert_eq!(loaded.hosts.iter().map(|host| host.id.as_str()).collect::<Vec<_>>(), vec!["after", "patient"]);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_is_noticed_in_time_and_it_goes_on_when_there_is_room() {
    full_and_back("a_disk_that_fills_up_is_noticed_in_time_and_it_goes_on_when_there_is_room", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_disk_in_the_middle_of_a_write_loses_nothing_acknowledged() {
    full_and_back("the_end_of_the_disk_in_the_middle_of_a_write_loses_nothing_acknowledged", false).await;
}

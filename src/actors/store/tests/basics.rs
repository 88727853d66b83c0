//! What is committed is there, and only that; also after a restart.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_loaded_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    let session = LoginSession {
        id: "id".to_owned(),
        user: "user".to_owned(),
        csrf: "secret".to_owned(),
        created_at: at(1),
        last_seen: at(2),
        expires_at: at(3),
        address: "192.0.2.7".to_owned(),
        browser: "Firefox".to_owned(),
    };
    let mut record = host_record("hsb0");
    record.facts.metrics =
        Some(nixfleet_protocol::agent::Metrics { cpu: Some(1.5), ram: None, swap: None, load: Some(0.25) });
    record.open = Some(id(2));
    let batch = Batch {
        writes: vec![
            Write::PutHost(Box::new(record.clone())),
            put_command(a_command(1, Some("hsb0"), CommandState::Success)),
            put_command(a_command(2, Some("hsb0"), CommandState::Executing)),
            put_command(a_command(3, None, CommandState::Pending)),
            Write::PutSession([7; 32], session.clone()),
            Write::PutToken([8; 32], a_token("api", TokenKind::Api(vec![Scope::Read, Scope::Metrics]))),
            Write::PutSetting("totp", b"step 5".to_vec()),
        ],
        events: vec![an_event("one"), an_event("two").on(host("hsb0"))],
        changes: vec![StateChange::HostRemoved(host("gone"))],
    };
    store.handle.commit(batch).await.unwrap();
    let published = store.published();
    assert!(matches!(&published[0], StateChange::HostRemoved(_)));
    assert!(matches!(&published[1], StateChange::Event(event) if event.id == EventId(1) && event.message == "one"));
    assert!(matches!(&published[2], StateChange::Event(event) if event.id == EventId(2)));
    let epoch = store.handle.load().await.unwrap().epoch;
    store.stop().await;

    let store = Running::open(dir.path()).await;
    let loaded = store.handle.load().await.unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.epoch, epoch);
    assert_ne!(epoch, Loaded::default().epoch);
    assert_eq!(loaded.hosts, vec![record.clone()]);
    assert_eq!(loaded.open.iter().map(|command| command.id).collect::<Vec<_>>(), vec![id(2), id(3)]);
    assert_eq!(loaded.recent.iter().map(|command| command.id).collect::<Vec<_>>(), vec![id(1)]);
    assert_eq!(loaded.events.iter().map(|event| event.id.0).collect::<Vec<_>>(), vec![2, 1]);
    let (found, open) = store.handle.load_host(host("hsb0")).await.unwrap().unwrap();
    assert_eq!((found, open.iter().map(|open| open.id).collect::<Vec<_>>()), (record, vec![id(2)]));
    let access = store.handle.access().await.unwrap();
    assert_eq!(access.sessions, vec![([7; 32], session)]);
    assert_eq!(access.tokens[0].1.kind, TokenKind::Api(vec![Scope::Read, Scope::Metrics]));
    assert_eq!(store.handle.setting("totp").await.unwrap().unwrap(), b"step 5");
    assert_eq!(store.handle.setting("other").await.unwrap(), None);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_from_new_to_old_and_on_from_where_they_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    for number in 1..=9 {
        let on = if number % 3 == 0 { "web" } else { "web1" };
        let batch = Batch {
            writes: vec![put_command(a_command(number, Some(on), CommandState::Success))],
            events: vec![an_event("e")],
            changes: vec![],
        };
        store.handle.commit(batch).await.unwrap();
    }
    let ids = |commands: Vec<Command>| commands.iter().map(|c| c.id.uuid().as_u128()).collect::<Vec<_>>();
    assert_eq!(ids(store.handle.commands(None, None, 4).await.unwrap()), vec![9, 8, 7, 6]);
    assert_eq!(ids(store.handle.commands(None, Some(id(6)), 3).await.unwrap()), vec![5, 4, 3]);
    assert_eq!(ids(store.handle.commands(Some(host("web")), None, 9).await.unwrap()), vec![9, 6, 3]);
    assert_eq!(ids(store.handle.commands(Some(host("web")), Some(id(9)), 1).await.unwrap()), vec![6]);
    assert_eq!(ids(store.handle.commands(Some(host("we")), None, 9).await.unwrap()), Vec::<u128>::new());
    let events = store.handle.events(Some(EventId(5)), 2).await.unwrap();
    assert_eq!(events.iter().map(|event| event.id.0).collect::<Vec<_>>(), vec![4, 3]);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_host_takes_its_tokens_along_and_leaves_its_commands() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    let first = writes(vec![
        put_host("a"),
        put_host("b"),
        put_command(a_command(1, Some("a"), CommandState::Success)),
        Write::PutToken([1; 32], a_token("a", TokenKind::Host(host("a")))),
        Write::PutToken([2; 32], a_token("b", TokenKind::Host(host("b")))),
    ]);
    store.handle.commit(first).await.unwrap();
    let second = writes(vec![
        Write::PutToken([3; 32], a_token("a, too", TokenKind::Host(host("a")))),
        Write::RemoveHost(host("a")),
        Write::RemoveHost(host("never-there")),
    ]);
    store.handle.commit(second).await.unwrap();
    let hashes: Vec<_> = store.handle.access().await.unwrap().tokens.iter().map(|(hash, _)| *hash).collect();
    assert_eq!(hashes, vec![[2; 32]]);
    assert!(store.handle.command(id(1)).await.unwrap().is_some());
    assert!(store.handle.load_host(host("a")).await.unwrap().is_none());
    store.stop().await;
    let store = Running::open(dir.path()).await;
    let loaded = store.handle.load().await.unwrap();
    assert_eq!((loaded.hosts.len(), loaded.warnings.len()), (1, 0));
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_only_rises_and_tells_where_it_stood() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    assert_eq!(store.handle.raise_mark(1_000_000).await.unwrap(), 0);
    assert_eq!(store.handle.raise_mark(500).await.unwrap(), 1_000_000);
    store.stop().await;
    let store = Running::open(dir.path()).await;
    assert_eq!(store.handle.raise_mark(2_000_000).await.unwrap(), 1_000_000);
    store.handle.probe(Duration::from_secs(5)).await.unwrap();
    store.stop().await;
}

//! Bytes that are not ours, bytes that changed, records that are gone, and directories that can't be used.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::super::trees::Tree;
use super::mounts::{Mounted, skipped};
use super::*;

fn everything(dir: &Path) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
    let db = sled_of(dir);
    let mut all = BTreeMap::new();
    for tree in Tree::ALL {
        for entry in &db.open_tree(tree.name()).unwrap() {
            let (key, value) = entry.unwrap();
            all.insert((tree.name(), key.to_vec()), value.to_vec());
        }
    }
    all
}

/// Changes the first record of a tree behind the store's back.
fn tamper(dir: &Path, tree: Tree, change: impl FnOnce(&mut Vec<u8>)) {
    let db = sled_of(dir);
    let tree = db.open_tree(tree.name()).unwrap();
    let (key, value) = tree.first().unwrap().unwrap();
    let mut value = value.to_vec();
    change(&mut value);
    tree.insert(key, value).unwrap();
    db.flush().unwrap();
}

async fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    let batch = Batch {
        writes: vec![
            put_host("hsb0"),
            put_host("hsb1"),
            put_command(a_command(1, Some("hsb0"), CommandState::Executing)),
            Write::PutToken([1; 32], a_token("a", TokenKind::Enrol)),
        ],
        events: vec![an_event("one"), an_event("two")],
        changes: vec![],
    };
    store.handle.commit(batch).await.unwrap();
    store.stop().await;
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_a_record_is_said_and_the_rest_is_there() {
    let dir = filled().await;
    tamper(dir.path(), Tree::Hosts, |value| *value.last_mut().unwrap() ^= 1);
    let store = Running::open(dir.path()).await;
    let loaded = store.handle.load().await.unwrap();
    assert_eq!(loaded.hosts.iter().map(|host| host.id.as_str()).collect::<Vec<_>>(), vec!["hsb1"]);
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("hsb0") && loaded.warnings[0].contains("checksum"), "{:?}", loaded.warnings);
    // Who asks for names alone hears the same, and of no host that nobody could revive.
    let named = store.handle.load_with(HostsAs::Names).await.unwrap();
    assert!(named.hosts.is_empty());
    assert_eq!((&named.names, &named.warnings), (&vec![host("hsb1")], &loaded.warnings));
    assert_eq!(named.names, loaded.names);
    let error = store.handle.load_host(host("hsb0")).await.unwrap_err();
    assert!(matches!(&error, StoreError::CantRead(why) if why.contains("hsb0")), "{error}");
    // It can be written again.
    store.handle.commit(writes(vec![put_host("hsb0")])).await.unwrap();
    assert!(store.handle.load_host(host("hsb0")).await.unwrap().is_some());
    store.stop().await;
    let store = Running::open(dir.path()).await;
    assert_eq!(store.handle.load().await.unwrap().warnings, Vec::<String>::new());
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_marker_stops_the_start_and_nothing_is_touched() {
    for tree in [Tree::Hosts, Tree::Commands, Tree::Events, Tree::Tokens, Tree::Meta] {
        let dir = filled().await;
        tamper(dir.path(), tree, |value| value[0] = 0x7F);
        let before = everything(dir.path());
        let error = Running::try_open(dir.path()).await.err().expect("it does not start").to_string();
        assert!(error.contains("marker 0x7f") && error.contains(tree.name()), "{error}");
        assert_eq!(everything(dir.path()), before);
    }
}

/// Every file under a folder.
fn files(dir: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files.extend(self::files(&entry.path()));
        } else {
            files.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_marker_leaves_every_byte_of_the_directory_as_it_was() {
    let dir = filled().await;
    tamper(dir.path(), Tree::Hosts, |value| value[0] = 0x7F);
    // What sled itself writes at its first opening after a change, it has written then.
    drop(sled_of(dir.path()));
    let before = files(&dir.path().join("store"));
    for _ in 0..2 {
        assert!(Running::try_open(dir.path()).await.is_err());
        let after = files(&dir.path().join("store"));
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        for (path, bytes) in &before {
            assert!(after[path] == *bytes, "{} changed", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_is_no_directory_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "hello").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Running::try_open(&path).await.err().expect("it does not start").to_string();
        for said in [path.to_str().unwrap(), "no directory", "NIXFLEET_DATA_DIR"] {
            assert!(error.contains(said), "{said}: {error}");
        }
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");
}

/// Not a test of its own: opens a store as somebody who owns nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn child_of_another_user() {
    let Some(dir) = std::env::var_os("NIXFLEET_TEST_STRANGER_IN") else { return };
    let error = Running::try_open(Path::new(&dir)).await.err().expect("it does not start").to_string();
    println!("said: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_user_is_named_with_what_to_do() {
    use std::os::unix::process::CommandExt as _;

    let name = "a_directory_of_another_user_is_named_with_what_to_do";
    if !rustix::process::geteuid().is_root() {
        return skipped(name, "only root may be another user");
    }
    // A place that everyone reaches, with a copy of this program that everyone may run.
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let theirs = filled().await;
    let data = place.path().join("data");
    std::fs::rename(theirs.path(), &data).unwrap();
    let output = std::process::Command::new(&program)
        .args(["--exact", "actors::store::tests::damage::child_of_another_user", "--nocapture"])
        .env("NIXFLEET_TEST_STRANGER_IN", &data)
        .current_dir("/")
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [data.to_str().unwrap(), "can't write", "give it to the user", "NIXFLEET_DATA_DIR"] {
        assert!(said.contains(part), "{part}: {said} {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_went_back_in_time_does_not_start_until_somebody_decides() {
    let (dir, other) = (filled().await, tempfile::tempdir().unwrap());
    let old = other.path().join("old");
    std::fs::create_dir(&old).unwrap();
    for entry in std::fs::read_dir(dir.path().join("store")).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), old.join(entry.file_name())).unwrap();
        }
    }
    let store = Running::open(dir.path()).await;
    let epoch = store.handle.load().await.unwrap().epoch;
    store.handle.commit(writes(vec![put_host("newest")])).await.unwrap();
    store.stop().await;
    // Everything but the witness is as it was: what sled makes of some flipped bits.
    let witness = std::fs::read(dir.path().join("store/witness")).unwrap();
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    std::fs::rename(&old, dir.path().join("store")).unwrap();
    std::fs::write(dir.path().join("store/witness"), witness).unwrap();
    let error = Running::try_open(dir.path()).await.err().expect("it does not start").to_string();
    for said in ["has lost what was written last", "2 hosts", "of 3", "nixfleet restore", "store/witness"] {
        assert!(error.contains(said), "{said}: {error}");
    }
    assert!(!check::stopped(dir.path()).unwrap().whole);
    std::fs::remove_file(dir.path().join("store/witness")).unwrap();
    let store = Running::open(dir.path()).await;
    assert_ne!(store.handle.load().await.unwrap().epoch, epoch, "versions that were given must not come again");
    store.stop().await;
    Running::open(dir.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_or_a_schema_of_a_newer_version_stops_the_start_and_nothing_is_touched() {
    let dir = filled().await;
    tamper(dir.path(), Tree::Hosts, |value| value[2] = 9);
    let before = everything(dir.path());
    let error = Running::try_open(dir.path()).await.err().expect("it does not start").to_string();
    assert!(error.contains("version 9") && error.contains("hsb0") && error.contains("hosts"), "{error}");
    assert_eq!(everything(dir.path()), before);

    let dir = filled().await;
    let payload = super::super::migrations::encode::<u64>(&99).unwrap();
    let place = super::super::record::Place { tree: Tree::Meta, key: b"schema" };
    let sealed = super::super::record::seal(place, super::super::record::Kind::Number, 1, &payload).unwrap();
    let db = sled_of(dir.path());
    db.open_tree("meta").unwrap().insert("schema", sealed.value).unwrap();
    db.flush().unwrap();
    drop(db);
    let error = Running::try_open(dir.path()).await.err().expect("it does not start").to_string();
    assert!(error.contains("schema 99"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said() {
    let dir = filled().await;
    let db = sled_of(dir.path());
    db.open_tree("hosts").unwrap().remove("hsb0").unwrap();
    let commands = db.open_tree("commands").unwrap();
    commands.clear().unwrap();
    db.open_tree("events").unwrap().pop_max().unwrap();
    db.flush().unwrap();
    drop((commands, db));
    let store = Running::open(dir.path()).await;
    let warnings = store.handle.load().await.unwrap().warnings.join("\n");
    for said in ["2 hosts and has 1", "1 commands and has 0", "the last event should be 2", "not over by the index"] {
        assert!(warnings.contains(said), "{said}: {warnings}");
    }
    // The number of the lost event is not given again.
    store.handle.commit(Batch { events: vec![an_event("three")], ..Batch::default() }).await.unwrap();
    assert_eq!(store.handle.events(None, 1).await.unwrap()[0].id, EventId(3));
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_directory_is_refused_and_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    let error = Running::try_open(dir.path()).await.err().expect("it does not start").to_string();
    let mine = format!("process {}", std::process::id());
    for said in [dir.path().to_str().unwrap(), "in use", "NIXFLEET_DATA_DIR", &mine] {
        assert!(error.contains(said), "{said}: {error}");
    }
    store.handle.commit(writes(vec![put_host("still-there")])).await.unwrap();
    store.stop().await;
    Running::open(dir.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_can_not_be_written_is_named_with_what_to_do() {
    let mounted = match Mounted::tmpfs("size=1m") {
        Ok(mounted) => Some(mounted),
        Err(reason) if rustix::process::geteuid().is_root() => {
            return skipped("a_directory_that_can_not_be_written_is_named_with_what_to_do", &reason);
        }
        // Others than root do not need a file system for it.
        Err(_) => None,
    };
    let own = tempfile::tempdir().unwrap();
    let dir = if let Some(mounted) = &mounted {
        mounted.remount("ro");
        mounted.path()
    } else {
        std::fs::set_permissions(own.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
        own.path().to_owned()
    };
    let error = Running::try_open(&dir).await.err().expect("it does not start").to_string();
    for said in [dir.to_str().unwrap(), "can't write", "NIXFLEET_DATA_DIR"] {
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_look_into_the_store() {
    let dir = filled().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = Running::open(dir.path()).await;
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(mode(&dir.path().join("lock")), 0o600);
    assert_eq!(mode(&dir.path().join("store")), 0o700);
    for entry in std::fs::read_dir(dir.path().join("store")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    store.stop().await;
}

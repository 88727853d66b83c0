//! The golden store: a real sled directory as this version writes it, with every kind of record. Later versions must
//! open it, find it whole, and read what `golden/v1.json` says.
//!
//! Write it anew with `NIXFLEET_WRITE_GOLDEN=1 cargo nextest run -p nixfleet --lib golden`, as long as version 1 was
//! not released. After that it is never written again: the next version gets a golden store of its own beside it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::tests::{command, event, host, remote, run, run_host, session, token, waiting};
use super::*;
use crate::actors::slot::Slot;
use crate::actors::store::{self, Batch, Scope, Store, StoreHandle, TokenKind, Write, check};
use nixfleet_protocol::CommandId;
use nixfleet_protocol::api::CommandState;
use ractor::{Actor, ActorRef};
use uuid::Uuid;

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/actors/store/migrations/golden").join(name)
}

/// All files of a folder in one: length of the name, name, length, bytes.
fn pack(dir: &Path) -> Vec<u8> {
    let mut files: Vec<_> =
        fs::read_dir(dir).unwrap().flatten().filter(|it| it.file_type().unwrap().is_file()).collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let mut packed = Vec::new();
    for file in files {
        let (name, bytes) = (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap());
        for part in [name.as_bytes(), &bytes] {
            packed.extend_from_slice(&(part.len() as u64).to_le_bytes());
            packed.extend_from_slice(part);
        }
    }
    zstd::bulk::compress(&packed, 19).unwrap()
}

fn unpack(packed: &[u8], dir: &Path) {
    let packed = zstd::bulk::decompress(packed, 64 << 20).unwrap();
    let mut rest = &packed[..];
    let mut part = || {
        let (length, behind) = rest.split_first_chunk::<8>()?;
        let (part, behind) = behind.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        rest = behind;
        Some(part)
    };
    fs::create_dir_all(dir).unwrap();
    while let Some(name) = part() {
        fs::write(dir.join(std::str::from_utf8(name).unwrap()), part().unwrap()).unwrap();
    }
}

async fn open(dir: &Path) -> (StoreHandle, ActorRef<store::Msg>) {
    let slot = Slot::new("store");
    let args = store::Args { dir: dir.to_owned(), publish: Box::new(|_| {}), on_health: Box::new(|_| {}) };
    let (actor, _) = Actor::spawn(None, Store, args).await.unwrap();
    slot.seat(actor.clone());
    (StoreHandle::new(slot), actor)
}

/// Every kind of record, a large one among them.
fn everything() -> Batch {
    let mut over = command();
    over.id = CommandId::from_uuid(Uuid::from_u128(70));
    over.state = CommandState::Success;
    over.details = Some(format!("{{\"long\":\"{}\"}}", "long ".repeat(3000)));
    let mut open = command();
    let mut host = host();
    host.open = Some(open.id);
    open.log_bytes = 0;
    over.log_bytes = 0;
    let api = TokenKind::Api(vec![Scope::Read, Scope::Operate, Scope::Admin, Scope::Metrics]);
    Batch {
        writes: vec![
            Write::PutCommand(Box::new(open)),
            Write::PutCommand(Box::new(over)),
            Write::PutHost(Box::new(host)),
            Write::PutRemote(Box::new(remote())),
            Write::PutRun(Box::new(run())),
            Write::PutRunHost(Box::new(run_host())),
            Write::PutSession([1; 32], session()),
            Write::PutToken([2; 32], token(TokenKind::Host("hsb0".parse().unwrap()))),
            Write::PutToken([3; 32], token(api)),
            Write::PutToken([4; 32], token(TokenKind::Enrol)),
            Write::PutOutbox(7, Box::new(waiting())),
            Write::PutSetting("totp_step", vec![1, 2, 255]),
        ],
        events: vec![event(), event()],
        changes: Vec::new(),
    }
}

/// What a store has, as JSON.
async fn told(store: &StoreHandle, dir: &Path) -> Value {
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let access = store.access().await.unwrap();
    let hex = |hash: &[u8]| data_encoding::HEXLOWER.encode(hash);
    let report = store.check(dir.to_owned()).await.unwrap();
    assert!(report.whole, "{report:?}");
    json!({
        "epoch": loaded.epoch,
        "mark": store.raise_mark(0).await.unwrap(),
        "hosts": loaded.hosts,
        "open": loaded.open,
        "recent": loaded.recent,
        "events": loaded.events,
        "runs": loaded.runs,
        "remote": loaded.remote,
        "sessions": access.sessions.iter().map(|(hash, it)| (hex(hash), it)).collect::<Vec<_>>(),
        "tokens": access.tokens.iter().map(|(hash, it)| (hex(hash), it)).collect::<Vec<_>>(),
        "outbox": store.outbox().await.unwrap().iter().map(|(number, it)| (number, &it.channel, &it.notice, it.letter)).collect::<Vec<_>>(),
        "totp_step": store.setting("totp_step").await.unwrap(),
        "records": report.records,
    })
}

async fn write_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (store, actor) = open(dir.path()).await;
    store.commit(everything()).await.unwrap();
    store.raise_mark(1_000_000).await.unwrap();
    let told = told(&store, dir.path()).await;
    actor.stop_and_wait(None, None).await.unwrap();
    fs::write(place("v1.store.zst"), pack(&dir.path().join("store"))).unwrap();
    fs::write(place("v1.json"), serde_json::to_string_pretty(&told).unwrap() + "\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_golden_store_of_version_1_opens_whole_and_reads_as_it_was_written() {
    if std::env::var_os("NIXFLEET_WRITE_GOLDEN").is_some() {
        write_anew().await;
    }
    let dir = tempfile::tempdir().unwrap();
    unpack(&fs::read(place("v1.store.zst")).unwrap(), &dir.path().join("store"));
    let report = check::stopped(dir.path()).unwrap();
    assert!(report.whole, "{report:?}");
    let expected: Value = serde_json::from_slice(&fs::read(place("v1.json")).unwrap()).unwrap();
    for times in 1..=2 {
        let (store, actor) = open(dir.path()).await;
        let told = told(&store, dir.path()).await;
        assert!(
            told == expected,
            "\n\nThe golden store of version 1 reads differently (opened {times} times):\n{told:#}\n\n\
             Version 1 was never released? Then write it anew: NIXFLEET_WRITE_GOLDEN=1 cargo nextest run -p nixfleet \
             --lib golden\nIt was released? Then its records need a step to the next version: migrations.rs says how.\n"
        );
        actor.stop_and_wait(None, None).await.unwrap();
    }
    // What is written next is written beside it, and read with it.
    let (store, actor) = open(dir.path()).await;
    store.commit(Batch { events: vec![event()], ..Batch::default() }).await.unwrap();
    assert_eq!(store.load().await.unwrap().events.len(), 3);
    assert!(store.check(dir.path().to_owned()).await.unwrap().whole);
    actor.stop_and_wait(None, None).await.unwrap();
}

/// A record of its own, to go through the steps of a migration: version 1 knew no level.
mod steps {
    use super::*;
    use crate::actors::store::folder::Folder;
    use crate::actors::store::reader;
    use crate::actors::store::record::{self, BadRecord, Place, Unreadable};
    use crate::actors::store::trees::Tree;

    #[derive(Clone, Debug, PartialEq)]
    struct Note {
        text: String,
        level: u8,
    }

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct NoteV1 {
        text: String,
    }

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct NoteV2 {
        text: String,
        level: u8,
    }

    impl Frozen for NoteV1 {
        type Live = String;

        fn freeze(live: &String) -> Self {
            Self { text: live.clone() }
        }

        fn thaw(self) -> String {
            self.text
        }
    }

    impl Frozen for NoteV2 {
        type Live = Note;

        fn freeze(live: &Note) -> Self {
            Self { text: live.text.clone(), level: live.level }
        }

        fn thaw(self) -> Note {
            Note { text: self.text, level: self.level }
        }
    }

    /// What the version before had.
    impl Stored for NoteV1 {
        const KIND: Kind = Kind::Setting;
        const NEWEST: u16 = 1;

        fn decode(_version: u16, payload: &[u8]) -> Result<Self, bincode::Error> {
            plain(payload)
        }
    }

    /// What this version has: it reads the old one by a step.
    impl Stored for NoteV2 {
        const KIND: Kind = Kind::Setting;
        const NEWEST: u16 = 2;

        fn decode(version: u16, payload: &[u8]) -> Result<Self, bincode::Error> {
            match version {
                1 => plain::<NoteV1>(payload).map(|NoteV1 { text }| Self { text, level: 7 }),
                _ => plain(payload),
            }
        }
    }

    #[test]
    fn an_old_record_is_read_by_its_step_and_written_in_the_newest_version() {
        let dir = tempfile::tempdir().unwrap();
        let open = Folder::take(dir.path()).unwrap().open().unwrap();
        let trees = &open.trees;
        let place = Place { tree: Tree::Settings, key: b"note" };
        let put = |version, payload: &[u8]| {
            let sealed = record::seal(place, Kind::Setting, version, payload).unwrap();
            assert!(sealed.parts.is_empty());
            trees.at(place.tree).insert(place.key, sealed.value).unwrap();
        };
        put(NoteV1::NEWEST, &encode::<NoteV1>(&"kept".to_owned()).unwrap());
        let note = reader::get::<NoteV2>(trees, place.tree, place.key).unwrap().unwrap();
        assert_eq!(note, Note { text: "kept".to_owned(), level: 7 });

        put(NoteV2::NEWEST, &encode::<NoteV2>(&Note { level: 9, ..note }).unwrap());
        assert_eq!(reader::get::<NoteV2>(trees, place.tree, place.key).unwrap().unwrap().level, 9);
        // Who knows only version 1 does not guess.
        let older = reader::get::<NoteV1>(trees, place.tree, place.key).unwrap_err();
        let Unreadable::Record(error @ BadRecord::Unknown { .. }) = older else { panic!("{older}") };
        assert!(error.to_string().contains("the version 2") && error.to_string().contains("nothing was changed"));
    }
}

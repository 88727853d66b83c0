//! Golden bytes: what version 1 of every record looks like on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use nixfleet_model::command::{Command, Life, Noted, Was};
use nixfleet_model::event::NewEvent;
use nixfleet_model::host::{Chosen, DeployedRecord, Facts, Freshness, History, HostRecord, SwitchRun, TestRun};
use nixfleet_model::load::Load;
use nixfleet_model::notify::{Kind, Notice, Waiting};
use nixfleet_model::pipeline::{Baseline, Cell, Moved, RunHost, RunRecord, Soak, Stage, Stop, Tried};
use nixfleet_model::remote::{Desired, Failing, Relation, RemoteState};
use nixfleet_protocol::agent::{DeviceType, Disk, Generation, HostType, Location, Metrics, Platform};
use nixfleet_protocol::api::{
    Canary, Category, CommandState, Level, LoadHistory, LoadSample, Merged, Offline, PullRequest, RunOptions, RunState,
    Waves,
};
use nixfleet_protocol::{BootId, CommandId, Epoch, InstanceId, JournalId, Op, RunId, Time};
use uuid::Uuid;

use super::*;
use crate::actors::store::{LoginSession, Scope, Token, TokenKind};

fn text<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "most fields are optional")]
fn at(millis: i64) -> Option<Time> {
    Some(Time::from_millis(millis))
}

#[expect(clippy::unnecessary_wraps, reason = "most fields are optional")]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn freshness() -> Freshness {
    Freshness {
        source_commit: Some(text("0123456")),
        store_path: some("/nix/store/a"),
        binary_hash: Some(text(&"ab".repeat(32))),
    }
}

fn deployed() -> DeployedRecord {
    DeployedRecord {
        commit: text("fedcba9876543210"),
        lock_hash: Some(text(&"01".repeat(32))),
        system_path: some("/nix/store/s"),
        number: Some(300),
        at: Time::from_millis(7),
    }
}

pub(super) fn waiting() -> Waiting {
    let notice = Notice {
        kind: Kind::HostGone,
        level: Level::Warn,
        host: Some(text("hsb0")),
        subject: "hsb0".to_owned(),
        title: "hsb0 is gone".to_owned(),
        text: "t".to_owned(),
        path: "/hosts/hsb0".to_owned(),
        at: Time::from_millis(300),
    };
    Waiting { channel: "ntfy".to_owned(), notice, letter: Some(6) }
}

pub(super) fn host() -> HostRecord {
    let facts = Facts {
        spelling: "HSB0".to_owned(),
        last_seen: at(1),
        lost_at: at(-1),
        protocol: Some(3),
        agent_version: some("0.1.0"),
        platform: Some(Platform::NixDarwin),
        host_type: HostType::Macos,
        os_version: some("15"),
        nixpkgs_version: some("26.05"),
        location: Location::Cloud,
        device_type: DeviceType::Gaming,
        theme_color: some("#112233"),
        tags: vec!["a".to_owned(), "b".to_owned()],
        heartbeat_interval: Some(30),
        repo_url: "url".to_owned(),
        repo_dir: "dir".to_owned(),
        repo_error: some("dirty"),
        generation: Some(text("0123456789abcdef")),
        lock_hash: Some(text(&"23".repeat(32))),
        lock_local: true,
        deployed: Some(deployed()),
        system_path: some("/nix/store/r"),
        system_revision: Some(text("abcdef0")),
        generations: [Generation { number: 10, commit: Some(text("abcdef1")), at: at(2), current: true }].into(),
        tests: Some(4),
        metrics: Some(Metrics { cpu: Some(1.5), ram: None, swap: Some(0.0), load: Some(0.25) }),
        disk: Some(Disk { store_free: 1, store_total: 2, boot_free: Some(3), boot_total: None }),
        reboot_required: Some(false),
        failed_units: vec!["a.service".to_owned()],
        mac_addresses: vec!["00:11:22:33:44:55".to_owned()],
        features: ["exec"].into_iter().collect(),
        freshness: freshness(),
        journal: Some(JournalId::from_uuid(uuid(1))),
        instance: Some(InstanceId::from_uuid(uuid(2))),
        boot_id: Some(BootId("boot".to_owned())),
        running: vec![CommandId::from_uuid(uuid(3))],
        pending: some("switch"),
    };
    let history = History {
        last_switch: Some(SwitchRun {
            command: CommandId::from_uuid(uuid(4)),
            op: Op::ForceRebuild,
            ok: false,
            commit: Some(text("abcdef2")),
            stage: some("build"),
            at: Time::from_millis(8),
            rolled_back: Some(Time::from_millis(9)),
        }),
        inferred: Some(deployed()),
        last_test: Some(TestRun {
            command: CommandId::from_uuid(uuid(5)),
            ok: true,
            passed: 6,
            total: 7,
            failed: vec!["t".to_owned()],
            commit: Some(text("abcdef3")),
            system_path: some("/nix/store/t"),
            at: Time::from_millis(9),
        }),
        reboots: vec![Time::from_millis(11)],
        auto_test: Some(CommandId::from_uuid(uuid(12))),
    };
    HostRecord {
        id: text("hsb0"),
        created_at: Time::from_millis(1_795_240_944_007),
        first_seen: at(3),
        facts,
        chosen: Chosen { color: some("#445566"), tags: Some(vec!["c".to_owned()]), comment: some("note") },
        history,
        load: load(),
        open: Some(CommandId::from_uuid(uuid(6))),
    }
}

/// Two minutes with one between them of which nothing is known.
fn load() -> Load {
    let mut past = LoadHistory::default();
    past.keep(29_920_681, LoadSample { cpu: Some(41), ram: None });
    past.keep(29_920_683, LoadSample { cpu: Some(100), ram: Some(7) });
    Load::of(past)
}

pub(super) fn command() -> Command {
    Command {
        id: CommandId::from_uuid(uuid(7)),
        host: Some(text("hsb0")),
        op: Op::Switch,
        args: "{}".to_owned(),
        state: CommandState::AwaitingReconnect,
        code: some("host_busy"),
        message: some("busy"),
        actor: "user".to_owned(),
        force: true,
        run_id: Some(RunId::from_uuid(uuid(8))),
        created_at: Time::from_millis(1),
        sent_at: at(2),
        started_at: at(3),
        finished_at: at(4),
        exit_code: Some(-1),
        log_bytes: 1 << 40,
        progress: None,
        details: some("{\"a\":1}"),
        life: Life {
            before_reconnect: Some(CommandState::Executing),
            ran_ms: 5,
            clock_since: at(6),
            extended_ms: 7,
            no_limit: true,
            stop_asked_at: at(8),
            accepted: true,
            journal: Some(JournalId::from_uuid(uuid(9))),
            protocol: Some(3),
            instance: Some(InstanceId::from_uuid(uuid(10))),
            boot_id: Some(BootId("boot".to_owned())),
            freshness: freshness(),
            link_down_at: at(9),
            kill_sent_at: at(10),
            was: Was {
                generation: Some(text("abcdef4")),
                lock_hash: Some(text(&"67".repeat(32))),
                system_path: some("/nix/store/was"),
                deployed: Some(text("abcdef5")),
            },
            noted: Some(Noted {
                at: Time::from_millis(11),
                finished_at: at(12),
                generation: Some(text("abcdef6")),
                missing: some("missing"),
                agent_changed: true,
            }),
            stage: some("build"),
        },
    }
}

pub(super) fn remote() -> RemoteState {
    let relations = [
        Relation::Equal,
        Relation::Behind(2),
        Relation::Ahead(3),
        Relation::Diverged { ahead: 4, behind: 5 },
        Relation::Foreign,
        Relation::Differs,
    ];
    RemoteState {
        source: some("github"),
        branch: "main".to_owned(),
        interval: Duration::from_millis(60_001),
        desired: Some(Desired {
            commit: text("0123456"),
            subject: "subject".to_owned(),
            author: "author".to_owned(),
            committed_at: Time::from_millis(1),
            lock_hash: Some(text(&"45".repeat(32))),
        }),
        read_at: at(2),
        failing: Some(Failing { since: Time::from_millis(3), why: "why".to_owned() }),
        pull_request: Some(PullRequest {
            number: 12,
            title: "title".to_owned(),
            url: "url".to_owned(),
            mergeable: Some(true),
            why_not: some("why not"),
            author: "author".to_owned(),
            head: text("abcdef8"),
            labels: vec!["automated".to_owned()],
            commits: Some(2),
            changed_files: Some(3),
            created_at: Time::from_millis(4),
        }),
        relations: (0..).map(|number| text(&format!("abcde{number:02}"))).zip(relations).collect::<BTreeMap<_, _>>(),
        merged: Some(Merged {
            number: 13,
            title: "merged".to_owned(),
            url: "url".to_owned(),
            commit: text("abcdef7"),
            at: Time::from_millis(5),
            by: "user".to_owned(),
        }),
        pull_request_error: some("why"),
    }
}

pub(super) fn event() -> NewEvent {
    NewEvent {
        time: Time::from_millis(1),
        category: Category::System,
        level: Level::Success,
        actor: "api:x".to_owned(),
        host: Some(text("hsb0")),
        action: "tested".to_owned(),
        message: "one".to_owned(),
        details: some("null"),
    }
}

pub(super) fn run() -> RunRecord {
    RunRecord {
        id: RunId::from_uuid(uuid(8)),
        pipeline: "do-all".to_owned(),
        label: "Do all".to_owned(),
        actor: "user".to_owned(),
        state: RunState::Halted,
        message: some("how"),
        stages: vec![
            Stage { op: Op::MergePr, args: "{}".to_owned() },
            Stage { op: Op::Rollback, args: "{\"a\":1}".to_owned() },
        ],
        shared: vec![Some(cell()), None],
        options: RunOptions {
            canary: Some(Canary { hosts: vec![text("hsb0")], tag: some("t") }),
            waves: Some(Waves::Sizes(vec![1, 2])),
            soak_s: 3,
            max_failures: Some(4),
            parallel: Some(5),
            wait_s: Some(6),
            offline: Offline::Skip,
            force: true,
            args: BTreeMap::new(),
        },
        groups: 7,
        hosts: 1,
        group: 8,
        soak: Some(Soak { since: Time::from_millis(9), until: Time::from_millis(10), tests: true }),
        heads: vec![text("abcdef7")],
        moved: Some(Moved { branch: "main".to_owned(), from: text("abcdef8"), to: text("abcdef9") }),
        halted: Some(Stop { at: Time::from_millis(11), why: "why".to_owned() }),
        cancelled: Some(Stop { at: Time::from_millis(12), why: "who".to_owned() }),
        rolls_back: true,
        totp: true,
        created_at: Time::from_millis(13),
        finished_at: at(14),
    }
}

fn cell() -> Cell {
    Cell {
        state: CommandState::Blocked,
        command: Some(CommandId::from_uuid(uuid(7))),
        turn_at: at(1),
        begun_at: at(2),
        rests_since: at(3),
        code: some("code"),
        message: some("message"),
    }
}

pub(super) fn run_host() -> RunHost {
    RunHost {
        run: RunId::from_uuid(uuid(8)),
        host: text("hsb0"),
        group: 1,
        place: 2,
        cells: vec![cell(), Cell::default()],
        tried: vec![Tried { stage: 3, command: Some(CommandId::from_uuid(uuid(6))), state: CommandState::Error }],
        fell: some("fell"),
        forgiven: true,
        before: Some(Baseline { red: true, current: true, failed_units: vec!["unit".to_owned()] }),
        switched: true,
    }
}

pub(super) fn session() -> LoginSession {
    LoginSession {
        id: "id".to_owned(),
        user: "user".to_owned(),
        csrf: "csrf".to_owned(),
        created_at: Time::from_millis(1),
        last_seen: Time::from_millis(2),
        expires_at: Time::from_millis(3),
        address: "192.0.2.7".to_owned(),
        browser: "Firefox".to_owned(),
    }
}

pub(super) fn token(kind: TokenKind) -> Token {
    Token {
        id: "id".to_owned(),
        name: "name".to_owned(),
        kind,
        created_at: Time::from_millis(1),
        last_used: at(2),
        expires_at: None,
    }
}

/// Compares with what was recorded, and reads it back.
fn golden<S: Stored<Live: PartialEq + std::fmt::Debug>>(name: &str, live: &S::Live, recorded: &str) {
    let now = data_encoding::HEXLOWER.encode(&encode::<S>(live).unwrap());
    assert_eq!(
        now, recorded,
        "\n\nThe record {name:?} is no longer written as it was in version 1.\n\
         Version 1 was never released? Then record these bytes in its golden test:\n{now}\n\
         It was released? Then leave it as it was, and make version 2 beside it: migrations.rs says how.\n"
    );
    let bytes = data_encoding::HEXLOWER.decode(recorded.as_bytes()).unwrap();
    assert_eq!(&S::decode(1, &bytes).unwrap().thaw(), live);
}

#[test]
fn version_1_of_every_record_is_what_it_was() {
    golden::<u64>("number", &1_000_000, "fc40420f00");
    golden::<Epoch>("epoch", &Epoch::from_uuid(uuid(1 << 100)), "1000000010000000000000000000000000");
    golden::<Vec<u8>>("setting", &vec![1, 2, 255], "030102ff");
    golden::<v1::NewEvent>("event", &event(), "020103056170693a7801046873623006746573746564036f6e6501046e756c6c");
    golden::<v1::LoginSession>(
        "session",
        &session(),
        "02696404757365720463737266020406093139322e302e322e370746697265666f78",
    );
    golden::<v1::Token>(
        "token of a host",
        &token(TokenKind::Host(text("hsb0"))),
        "026964046e616d6500046873623002010400",
    );
    let scopes = vec![Scope::Read, Scope::Operate, Scope::Admin, Scope::Metrics];
    golden::<v1::Token>("token of the API", &token(TokenKind::Api(scopes)), "026964046e616d6501040001020302010400");
    golden::<v1::Token>("token for enrolment", &token(TokenKind::Enrol), "026964046e616d650202010400");
    golden::<v1::RunRecord>(
        "run",
        &run(),
        "100000000000000000000000000000000806646f2d616c6c06446f20616c6c0475736572010103686f7702086d657267652d7072027b7d08726f6c6c6261636b077b2261223a317d0201070110000000000000000000000000000000070102010401060104636f646501076d65737361676500917b2263616e617279223a7b22686f737473223a5b2268736230225d2c22746167223a2274227d2c227761766573223a5b312c325d2c22736f616b5f73223a332c226d61785f6661696c75726573223a342c22706172616c6c656c223a352c22776169745f73223a362c226f66666c696e65223a22736b6970222c22666f726365223a747275652c2261726773223a7b7d7d0701080112140101076162636465663701046d61696e0761626364656638076162636465663901160377687901180377686f01011a011c",
    );
    golden::<v1::RunHost>(
        "host of a run",
        &run_host(),
        "10000000000000000000000000000000080468736230010202070110000000000000000000000000000000070102010401060104636f646501076d65737361676500000000000000010301100000000000000000000000000000000609010466656c6c010101010104756e697401",
    );
    golden::<v1::Waiting>(
        "notification",
        &waiting(),
        "046e746679030101046873623004687362300c6873623020697320676f6e6501740b2f686f7374732f68736230fb58020106",
    );
    golden::<v1::RemoteState>(
        "remote",
        &remote(),
        "0106676974687562046d61696e3cfc40420f00010730313233343536077375626a65637406617574686f72020140343534353435343534353435343534353435343534353435343534353435343534353435343534353435343534353435343534353435343534353435343534350104010603776879010c057469746c650375726c01010107776879206e6f7406617574686f72076162636465663801096175746f6d6174656401020103080607616263646530300007616263646530310102076162636465303202030761626364653033030405076162636465303404076162636465303505010d066d65726765640375726c07616263646566370a04757365720103776879",
    );
    golden::<v1::Command>(
        "command",
        &command(),
        "100000000000000000000000000000000701046873623006737769746368027b7d050109686f73745f62757379010462757379047573657201011000000000000000000000000000000008020104010601080101fd000000000001000001077b2261223a317d010205010c0701011001011000000000000000000000000000000009010301100000000000000000000000000000000a0104626f6f74010730313233343536010c2f6e69782f73746f72652f6101406162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616201120114010761626364656634014036373637363736373637363736373637363736373637363736373637363736373637363736373637363736373637363736373637363736373637363736373637010e2f6e69782f73746f72652f7761730107616263646566350116011801076162636465663601076d697373696e670101056275696c64",
    );
    golden::<v1::HostRecord>(
        "host",
        &host(),
        "0468736230fd0ec365f943030000010604485342300102010101030105302e312e3001010101023135010532362e303502030107233131323233330201610162011e0375726c036469720105646972747901103031323334353637383961626364656601403233323332333233323332333233323332333233323332333233323332333233323332333233323332333233323332333233323332333233323332333233323301011066656463626139383736353433323130014030313031303130313031303130313031303130313031303130313031303130313031303130313031303130313031303130313031303130313031303130313031010c2f6e69782f73746f72652f7301fb2c010e010c2f6e69782f73746f72652f72010761626364656630010a01076162636465663101040101040101000000000000f83f0001000000000000000001000000000000d03f01010201030001000109612e73657276696365011130303a31313a32323a33333a34343a3535010465786563010730313233343536010c2f6e69782f73746f72652f610140616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261620110000000000000000000000000000000010110000000000000000000000000000000020104626f6f7401100000000000000000000000000000000301067377697463680107233434353536360101016301046e6f74650110000000000000000000000000000000040d666f7263652d72656275696c640001076162636465663201056275696c64100112011066656463626139383736353433323130014030313031303130313031303130313031303130313031303130313031303130313031303130313031303130313031303130313031303130313031303130313031010c2f6e69782f73746f72652f7301fb2c010e011000000000000000000000000000000005010607010174010761626364656633010c2f6e69782f73746f72652f7412011601100000000000000000000000000000000cfc561b910378ffff29ffffff6407fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffb2001ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff4707ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff011000000000000000000000000000000006",
    );
}

/// Every variant's number, in the order in which they are on disk.
#[test]
fn version_1_of_every_enum_is_numbered_as_it_was() {
    fn numbers<F: Frozen + Serialize>(all: &[F::Live]) -> Vec<u8> {
        all.iter().flat_map(|live| bincode::DefaultOptions::new().serialize(&F::freeze(live)).unwrap()).collect()
    }
    use CommandState as S;
    let states = [
        S::Pending,
        S::Validating,
        S::Executing,
        S::RunningWarning,
        S::TimeoutPending,
        S::AwaitingReconnect,
        S::Killing,
        S::Blocked,
        S::Success,
        S::Error,
        S::Partial,
        S::Killed,
        S::Timeout,
        S::StaleBinary,
        S::Suspicious,
        S::Orphaned,
        S::Cancelled,
        S::Skipped,
    ];
    assert_eq!(numbers::<v1::CommandState>(&states), (0..18).collect::<Vec<_>>());
    let platforms = [Platform::Nixos, Platform::NixDarwin, Platform::HomeManager, Platform::Script];
    assert_eq!(numbers::<v1::Platform>(&platforms), [0, 1, 2, 3]);
    let types = [HostType::Nixos, HostType::Macos, HostType::Linux, HostType::Other];
    assert_eq!(numbers::<v1::HostType>(&types), [0, 1, 2, 3]);
    let locations = [Location::Home, Location::Work, Location::Cloud, Location::Unknown];
    assert_eq!(numbers::<v1::Location>(&locations), [0, 1, 2, 3]);
    let devices =
        [DeviceType::Server, DeviceType::Desktop, DeviceType::Laptop, DeviceType::Gaming, DeviceType::Unknown];
    assert_eq!(numbers::<v1::DeviceType>(&devices), [0, 1, 2, 3, 4]);
    let runs = [
        RunState::Running,
        RunState::Halted,
        RunState::Complete,
        RunState::Partial,
        RunState::Failed,
        RunState::Cancelled,
    ];
    assert_eq!(numbers::<v1::RunState>(&runs), [0, 1, 2, 3, 4, 5]);
    assert_eq!(numbers::<v1::NoticeKind>(&Kind::ALL), (0..8).collect::<Vec<_>>());
    assert_eq!(numbers::<v1::Category>(&[Category::Audit, Category::System, Category::Error]), [0, 1, 2]);
    assert_eq!(numbers::<v1::Level>(&[Level::Info, Level::Warn, Level::Error, Level::Success]), [0, 1, 2, 3]);
}

//! Version 1 of everything. Once it is released, not a letter of this file changes; see `migrations.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::{command, event, host, load, notify, pipeline, remote};
use nixfleet_protocol::{BootId, CommandId, Commit, HostId, InstanceId, JournalId, LockHash, Op, RunId, Time};
use nixfleet_protocol::{agent, api};
use serde::{Deserialize, Serialize};

use super::frozen::{Frozen, frozen_enums, frozen_structs};
use crate::actors::store as door;

frozen_structs! {
    HostRecord = host::HostRecord {
        id: HostId,
        created_at: Time,
        first_seen: Option<Time>,
        facts: Facts,
        chosen: Chosen,
        history: History,
        load: Load,
        open: Option<CommandId>,
    }
    Facts = host::Facts {
        spelling: String,
        last_seen: Option<Time>,
        lost_at: Option<Time>,
        protocol: Option<u32>,
        agent_version: Option<String>,
        platform: Option<Platform>,
        host_type: HostType,
        os_version: Option<String>,
        nixpkgs_version: Option<String>,
        location: Location,
        device_type: DeviceType,
        theme_color: Option<String>,
        tags: Vec<String>,
        heartbeat_interval: Option<u32>,
        repo_url: String,
        repo_dir: String,
        repo_error: Option<String>,
        generation: Option<Commit>,
        lock_hash: Option<LockHash>,
        lock_local: bool,
        deployed: Option<Deployed>,
        system_path: Option<String>,
        system_revision: Option<Commit>,
        generations: Arc<[Generation]>,
        tests: Option<u32>,
        metrics: Option<Metrics>,
        disk: Option<Disk>,
        reboot_required: Option<bool>,
        failed_units: Vec<String>,
        mac_addresses: Vec<String>,
        features: Features,
        freshness: Freshness,
        journal: Option<JournalId>,
        instance: Option<InstanceId>,
        boot_id: Option<BootId>,
        running: Vec<CommandId>,
        pending: Option<String>,
    }
    Generation = agent::Generation { number: u64, commit: Option<Commit>, at: Option<Time>, current: bool }
    Metrics = agent::Metrics { cpu: Option<f64>, ram: Option<f64>, swap: Option<f64>, load: Option<f64> }
    Disk = agent::Disk { store_free: u64, store_total: u64, boot_free: Option<u64>, boot_total: Option<u64> }
    Freshness = host::Freshness {
        source_commit: Option<Commit>,
        store_path: Option<String>,
        binary_hash: Option<LockHash>,
    }
    Deployed = host::DeployedRecord {
        commit: Commit,
        lock_hash: Option<LockHash>,
        system_path: Option<String>,
        number: Option<u64>,
        at: Time,
    }
    Chosen = host::Chosen { color: Option<String>, tags: Option<Vec<String>>, comment: Option<String> }
    History = host::History {
        last_switch: Option<SwitchRun>,
        inferred: Option<Deployed>,
        last_test: Option<TestRun>,
        reboots: Vec<Time>,
        auto_test: Option<CommandId>,
    }
    SwitchRun = host::SwitchRun {
        command: CommandId,
        op: Op,
        ok: bool,
        commit: Option<Commit>,
        stage: Option<String>,
        at: Time,
        rolled_back: Option<Time>,
    }
    TestRun = host::TestRun {
        command: CommandId,
        ok: bool,
        passed: u64,
        total: u64,
        failed: Vec<String>,
        commit: Option<Commit>,
        system_path: Option<String>,
        at: Time,
    }
    Command = command::Command {
        id: CommandId,
        host: Option<HostId>,
        op: Op,
        args: String,
        state: CommandState,
        code: Option<String>,
        message: Option<String>,
        actor: String,
        force: bool,
        run_id: Option<RunId>,
        created_at: Time,
        sent_at: Option<Time>,
        started_at: Option<Time>,
        finished_at: Option<Time>,
        exit_code: Option<i32>,
        log_bytes: u64,
        details: Option<String>,
        life: Life;
        skip progress
    }
    Life = command::Life {
        before_reconnect: Option<CommandState>,
        ran_ms: u64,
        clock_since: Option<Time>,
        extended_ms: u64,
        no_limit: bool,
        stop_asked_at: Option<Time>,
        accepted: bool,
        journal: Option<JournalId>,
        protocol: Option<u32>,
        instance: Option<InstanceId>,
        boot_id: Option<BootId>,
        freshness: Freshness,
        link_down_at: Option<Time>,
        kill_sent_at: Option<Time>,
        was: Was,
        noted: Option<Noted>,
        stage: Option<String>,
    }
    Was = command::Was {
        generation: Option<Commit>,
        lock_hash: Option<LockHash>,
        system_path: Option<String>,
        deployed: Option<Commit>,
    }
    Noted = command::Noted {
        at: Time,
        finished_at: Option<Time>,
        generation: Option<Commit>,
        missing: Option<String>,
        agent_changed: bool,
    }
    RemoteState = remote::RemoteState {
        source: Option<String>,
        branch: String,
        interval: Duration,
        desired: Option<Desired>,
        read_at: Option<Time>,
        failing: Option<Failing>,
        pull_request: Option<PullRequest>,
        relations: BTreeMap<Commit, Relation>,
        merged: Option<Merged>,
        pull_request_error: Option<String>,
    }
    Merged = api::Merged {
        number: u64,
        title: String,
        url: String,
        commit: Commit,
        at: Time,
        by: String,
    }
    Desired = remote::Desired {
        commit: Commit,
        subject: String,
        author: String,
        committed_at: Time,
        lock_hash: Option<LockHash>,
    }
    Failing = remote::Failing { since: Time, why: String }
    PullRequest = api::PullRequest {
        number: u64,
        title: String,
        url: String,
        mergeable: Option<bool>,
        why_not: Option<String>,
        author: String,
        head: Commit,
        labels: Vec<String>,
        commits: Option<u32>,
        changed_files: Option<u32>,
        created_at: Time,
    }
    NewEvent = event::NewEvent {
        time: Time,
        category: Category,
        level: Level,
        actor: String,
        host: Option<HostId>,
        action: String,
        message: String,
        details: Option<String>,
    }
    Waiting = notify::Waiting { channel: String, notice: Notice, letter: Option<u64> }
    Notice = notify::Notice {
        kind: NoticeKind,
        level: Level,
        host: Option<HostId>,
        subject: String,
        title: String,
        text: String,
        path: String,
        at: Time,
    }
    RunRecord = pipeline::RunRecord {
        id: RunId,
        pipeline: String,
        label: String,
        actor: String,
        state: RunState,
        message: Option<String>,
        stages: Vec<Stage>,
        shared: Vec<Option<Cell>>,
        options: RunOptions,
        groups: u32,
        hosts: u32,
        group: u32,
        soak: Option<Soak>,
        heads: Vec<Commit>,
        moved: Option<Moved>,
        halted: Option<Stop>,
        cancelled: Option<Stop>,
        rolls_back: bool,
        totp: bool,
        created_at: Time,
        finished_at: Option<Time>,
    }
    Stage = pipeline::Stage { op: Op, args: String }
    Soak = pipeline::Soak { since: Time, until: Time, tests: bool }
    Moved = pipeline::Moved { branch: String, from: Commit, to: Commit }
    Baseline = pipeline::Baseline { red: bool, current: bool, failed_units: Vec<String> }
    Stop = pipeline::Stop { at: Time, why: String }
    RunHost = pipeline::RunHost {
        run: RunId,
        host: HostId,
        group: u32,
        place: u32,
        cells: Vec<Cell>,
        tried: Vec<Tried>,
        fell: Option<String>,
        forgiven: bool,
        before: Option<Baseline>,
        switched: bool,
    }
    Cell = pipeline::Cell {
        state: CommandState,
        command: Option<CommandId>,
        turn_at: Option<Time>,
        begun_at: Option<Time>,
        rests_since: Option<Time>,
        code: Option<String>,
        message: Option<String>,
    }
    Tried = pipeline::Tried { stage: u32, command: Option<CommandId>, state: CommandState }
    LoginSession = door::LoginSession {
        id: String,
        user: String,
        csrf: String,
        created_at: Time,
        last_seen: Time,
        expires_at: Time,
        address: String,
        browser: String,
    }
    Token = door::Token {
        id: String,
        name: String,
        kind: TokenKind,
        created_at: Time,
        last_used: Option<Time>,
        expires_at: Option<Time>,
    }
}

frozen_enums! {
    Platform = agent::Platform { Nixos, NixDarwin, HomeManager, Script }
    HostType = agent::HostType { Nixos, Macos, Linux, Other }
    Location = agent::Location { Home, Work, Cloud, Unknown }
    DeviceType = agent::DeviceType { Server, Desktop, Laptop, Gaming, Unknown }
    CommandState = api::CommandState {
        Pending, Validating, Executing, RunningWarning, TimeoutPending, AwaitingReconnect, Killing, Blocked, Success,
        Error, Partial, Killed, Timeout, StaleBinary, Suspicious, Orphaned, Cancelled, Skipped,
    }
    Category = api::Category { Audit, System, Error }
    Level = api::Level { Info, Warn, Error, Success }
    NoticeKind = notify::Kind {
        CommandFailed, RunFinished, RunHalted, HostGone, HostBack, UpdateWaiting, RemoteUnreadable, RemoteReadable,
    }
    Scope = door::Scope { Read, Operate, Admin, Metrics }
    RunState = api::RunState { Running, Halted, Complete, Partial, Failed, Cancelled }
}

/// How a run was started: JSON, since it is what somebody wrote in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunOptions(String);

impl Frozen for RunOptions {
    type Live = api::RunOptions;

    fn freeze(live: &Self::Live) -> Self {
        // It came as JSON, so it can be written as such.
        Self(serde_json::to_string(live).unwrap_or_default())
    }

    fn thaw(self) -> Self::Live {
        serde_json::from_str(&self.0).unwrap_or_else(|error| {
            tracing::error!(%error, "the options of a run can't be read, it goes on without them");
            api::RunOptions::default()
        })
    }
}

/// How busy a host was: the newest minute, and two bytes for each place of the hour and of the day.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    newest: i64,
    hour: Vec<u8>,
    day: Vec<u8>,
}

impl Frozen for Load {
    type Live = load::Load;

    fn freeze(live: &Self::Live) -> Self {
        let (newest, hour, day) = live.past.to_parts();
        Self { newest, hour, day }
    }

    fn thaw(self) -> Self::Live {
        load::Load::of(api::LoadHistory::from_parts(self.newest, &self.hour, &self.day))
    }
}

/// How a host's commit stands to the head.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Relation {
    Equal,
    Behind(u32),
    Ahead(u32),
    Diverged { ahead: u32, behind: u32 },
    Foreign,
    Differs,
}

/// A list of texts.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Features(Vec<String>);

impl Frozen for Features {
    type Live = host::Features;

    fn freeze(live: &host::Features) -> Self {
        Self(live.words().map(str::to_owned).collect())
    }

    fn thaw(self) -> host::Features {
        self.0.into_iter().collect()
    }
}

impl Frozen for Relation {
    type Live = remote::Relation;

    fn freeze(live: &Self::Live) -> Self {
        match *live {
            remote::Relation::Equal => Self::Equal,
            remote::Relation::Behind(by) => Self::Behind(by),
            remote::Relation::Ahead(by) => Self::Ahead(by),
            remote::Relation::Diverged { ahead, behind } => Self::Diverged { ahead, behind },
            remote::Relation::Foreign => Self::Foreign,
            remote::Relation::Differs => Self::Differs,
        }
    }

    fn thaw(self) -> Self::Live {
        match self {
            Self::Equal => remote::Relation::Equal,
            Self::Behind(by) => remote::Relation::Behind(by),
            Self::Ahead(by) => remote::Relation::Ahead(by),
            Self::Diverged { ahead, behind } => remote::Relation::Diverged { ahead, behind },
            Self::Foreign => remote::Relation::Foreign,
            Self::Differs => remote::Relation::Differs,
        }
    }
}

/// What a token is good for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum TokenKind {
    Host(HostId),
    Api(Vec<Scope>),
    Enrol,
}

impl Frozen for TokenKind {
    type Live = door::TokenKind;

    fn freeze(live: &Self::Live) -> Self {
        match live {
            door::TokenKind::Host(host) => Self::Host(host.clone()),
            door::TokenKind::Api(scopes) => Self::Api(Frozen::freeze(scopes)),
            door::TokenKind::Enrol => Self::Enrol,
        }
    }

    fn thaw(self) -> Self::Live {
        match self {
            Self::Host(host) => door::TokenKind::Host(host),
            Self::Api(scopes) => door::TokenKind::Api(scopes.thaw()),
            Self::Enrol => door::TokenKind::Enrol,
        }
    }
}

//! The store's actor: takes messages, hands commits to the writer thread and reads to threads of their own,
//! and so never waits itself.
//!
//! Invariants: an answer to a commit means that it is on disk and published. A restart is an opening.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nixfleet_model::fleet_state::StateChange;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde_json::json;

use super::folder::Folder;
use super::health::Shared;
use super::upkeep::{self, Ask};
use super::writer::{self, Job};
use super::{Msg, StoreError, WriterNews, check, reader, start};
use crate::actors::slot::answer;

/// What the store needs to start.
pub struct Args {
    /// The data directory (`$NIXFLEET_DATA_DIR`): the store lies in `store/` of it, the lock beside it.
    pub dir: PathBuf,
    /// Called with what has become durable, in the order of the commits, before they are answered.
    pub publish: Box<dyn Fn(Vec<StateChange>) + Send + Sync>,
    /// Called when the store can't write any more, and why, and with none when it can (again).
    pub on_health: Box<dyn Fn(Option<String>) + Send + Sync>,
}

/// How often a store that found no room on the disk is opened again.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

/// The store's actor.
pub struct Store;

/// What the actor has while it lives.
pub struct State {
    /// None only while it stops.
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    on_health: Box<dyn Fn(Option<String>) + Send + Sync>,
}

impl Actor for Store {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        let Args { dir, publish, on_health } = args;
        let started = loop {
            let dir = dir.clone();
            match tokio::task::spawn_blocking(move || start::in_dir(&dir)).await? {
                Ok(started) => break started,
                // A state and not a failure: to fail would only fail again.
                Err(error) if error.is_full_disk() => {
                    tracing::error!(%error, "the disk is full, waits until there is room");
                    tokio::time::sleep(ROOM_AGAIN).await;
                }
                Err(error) => {
                    tracing::error!(%error, "the store can't be opened");
                    return Err(error.into());
                }
            }
        };
        let news = Arc::new(move |news| {
            if myself.cast(Msg::Writer(news)).is_err() {
                tracing::debug!("the store's actor is gone, and its writer ends");
            }
        });
        let (jobs, shared, thread) = writer::spawn(started, publish, news)?;
        Ok(State { jobs: Some(jobs), shared, thread: Some(thread), on_health })
    }

    async fn post_start(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        (state.on_health)(None);
        Ok(())
    }

    async fn handle(&self, _myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Commit { batch, again, reply } => {
                state.hand_over(Job::Commit { batch, again, since: Instant::now(), reply });
            }
            Msg::RaiseMark { to, reply } => state.hand_over(Job::RaiseMark { to, reply }),
            // It goes on, and commits wait for it: asking it to write something now would only wait too.
            Msg::Probe { reply } if state.shared.busy.what().is_some() => answer(reply, Ok(())),
            Msg::Probe { reply } => state.hand_over(Job::Probe { reply }),
            Msg::Upkeep(ask) => state.upkeep(ask),
            Msg::Load { hosts, reply } => state.read(reply, move |shared| reader::load(shared, hosts)),
            Msg::LoadHost { host, reply } => state.read(reply, move |shared| reader::load_host(shared, &host)),
            Msg::Command { id, reply } => state.read(reply, move |shared| reader::command(shared, id)),
            Msg::Commands { host, before, limit, reply } => {
                state.read(reply, move |shared| reader::commands(shared, host.as_ref(), before, limit));
            }
            Msg::Events { before, limit, reply } => {
                state.read(reply, move |shared| reader::events(shared, before, limit));
            }
            Msg::Run { id, reply } => state.read(reply, move |shared| reader::run(shared, id)),
            Msg::Runs { before, limit, reply } => {
                state.read(reply, move |shared| reader::runs(shared, before, limit));
            }
            Msg::Access { reply } => state.read(reply, reader::access),
            Msg::Outbox { reply } => state.read(reply, reader::outbox),
            Msg::Setting { name, reply } => state.read(reply, move |shared| reader::setting(shared, name)),
            Msg::Inspect { reply } => state.inspect(reply),
            Msg::Writer(WriterNews::Health(health)) => (state.on_health)(health),
            Msg::Writer(WriterNews::Died(why)) => {
                (state.on_health)(Some(format!("the writer died: {why}")));
                return Err(format!("the store's writer died: {why}").into());
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        // Without a sender the writer finishes what waits, closes sled and ends.
        state.jobs = None;
        if let Some(thread) = state.thread.take() {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
            if ended.is_err() {
                tracing::error!("the store's writer did not end well");
            }
        }
        Ok(())
    }
}

impl State {
    fn hand_over(&self, job: Job) {
        self.shared.queue.fetch_add(1, Ordering::Relaxed);
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            // The writer died, and the news of it is on the way. Who asked hears that nobody answers.
            self.shared.queue.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn upkeep(&self, ask: Ask) {
        match ask {
            Ask::Standings { before, limit, reply } => {
                self.read(reply, move |shared| upkeep::standings(shared, before, limit));
            }
            Ask::Known { ids, reply } => self.read(reply, move |shared| upkeep::known(shared, &ids)),
            Ask::OldEvents { range, now, retention, limit, reply } => {
                self.read(reply, move |shared| upkeep::old_events(shared, &range, now, retention, limit));
            }
            Ask::OldRuns { now, retention, limit, reply } => {
                self.read(reply, move |shared| upkeep::old_runs(shared, now, retention, limit));
            }
            Ask::Measure { reply } => self.read(reply, upkeep::measure),
            Ask::Check { data_dir, reply } => self.read(reply, move |shared| check::running(shared, &data_dir)),
            Ask::Compact { reply } => self.hand_over(Job::Compact { reply }),
            Ask::Export { head, reply } => self.hand_over(Job::Export { head, reply }),
        }
    }

    fn read<R: Send + 'static>(
        &self,
        reply: RpcReplyPort<Result<R, StoreError>>,
        read: impl FnOnce(&Shared) -> Result<R, StoreError> + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            if reply.send(read(&shared)).is_err() {
                tracing::trace!("nobody waits for this answer");
            }
        });
    }

    fn inspect(&self, reply: RpcReplyPort<serde_json::Value>) {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            let (p50, p99) = shared.percentiles();
            let snapshot = json!({
                "epoch": shared.epoch,
                "health": shared.trouble(),
                "warnings": shared.warnings,
                "busy": shared.busy.what(),
                "queue": shared.queue.load(Ordering::Relaxed),
                "written": shared.written.load(Ordering::Relaxed),
                "hosts": shared.hosts.load(Ordering::Relaxed),
                "commands": shared.commands.load(Ordering::Relaxed),
                "bytes": Folder::size(&shared.store),
                "commit_p50_us": p50,
                "commit_p99_us": p99,
            });
            if reply.send(snapshot).is_err() {
                tracing::trace!("nobody waits for this answer");
            }
        });
    }
}

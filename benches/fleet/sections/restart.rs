//! An actor dies: when there is one in its place that answers. The whole tree runs in this process for it, because
//! nobody outside of the daemon can kill one of its actors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nixfleet::actors::handles::{Handles, Slots};
use nixfleet::actors::root::{Root, Settings};
use nixfleet::actors::slot::Slot;
use nixfleet::actors::{access, remote};
use nixfleet::config::{AccessConfig, Secret};
use nixfleet::web::render::Pages;
use nixfleet_model::host_core;
use nixfleet_protocol::Time;
use nixfleet_protocol::api::Server;
use ractor::{Actor, Message};
use tokio::sync::watch;

use crate::Bench;
use crate::daemon::{ADMIN, PASSWORD};
use crate::measure::{Sample, ms};
use crate::report::Table;

const HOSTS: usize = 50;

pub(super) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let (slots, handles) = tree(bench).await?;
    let mut measured = Vec::new();
    // Hosts, each for the first time: who dies again within a minute waits longer, by design.
    let mut sample = Sample::default();
    let children = slots.hosts.sitting().context("no hosts actor")?.get_cell().get_children();
    for victim in children.into_iter().take(20) {
        let begun = Instant::now();
        victim.kill();
        while answering(&handles).await < HOSTS {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        sample.push(begun.elapsed());
    }
    measured.push(("host", sample));
    measured.push((
        "sync",
        back(&slots.sync, async || handles.sync.snapshot().await.is_ok_and(|now| now.state.hosts.len() == HOSTS))
            .await?,
    ));
    measured.push(("links", back(&slots.links, async || handles.links.drain().await.is_ok()).await?));
    measured.push(("sessions", back(&slots.sessions, async || handles.sessions.drain().await.is_ok()).await?));
    measured.push(("access", back(&slots.access, async || handles.access.own_tokens().await.is_ok()).await?));
    measured
        .push(("hosts, with all its hosts", back(&slots.hosts, async || answering(&handles).await == HOSTS).await?));
    measured
        .push(("store", back(&slots.store, async || handles.store.probe(Duration::from_secs(5)).await.is_ok()).await?));
    let worst = measured.iter().filter(|(name, _)| *name != "store").map(|(_, sample)| sample.at(1000)).max();
    let text: Vec<_> = measured.iter().map(|(name, sample)| format!("{name} {} ms", ms(sample.p50()))).collect();
    let what = format!("a crashed actor is back ({HOSTS} hosts)");
    table.row(what, "≤ 10 ms", text.join(", "), worst.is_some_and(|worst| worst <= Duration::from_millis(10)));
    handles.root.stop().await?;
    Ok(())
}

/// How many hosts' actors answer.
async fn answering(handles: &Handles) -> usize {
    let all = handles.hosts.inspect_all().await.ok();
    all.and_then(|all| Some(all.as_object()?.values().filter(|host| !host.is_null()).count())).unwrap_or_default()
}

/// Kills who sits there, and waits until it is as it was.
async fn back<M: Message>(slot: &Slot<M>, well: impl AsyncFn() -> bool) -> anyhow::Result<Sample> {
    let actor = slot.sitting().context("nobody sits there")?;
    let mut sample = Sample::default();
    let begun = Instant::now();
    actor.kill();
    while slot.sitting().is_none_or(|now| now.get_id() == actor.get_id()) || !well().await {
        tokio::time::sleep(Duration::from_micros(200)).await;
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(20), "it does not come back");
    }
    sample.push(begun.elapsed());
    Ok(sample)
}

async fn tree(bench: &Bench) -> anyhow::Result<(Slots, Handles)> {
    let data_dir = bench.dir.path().join("restart");
    std::fs::create_dir_all(&data_dir)?;
    let access = AccessConfig {
        password_hash: Secret::new(bcrypt::hash(PASSWORD, 4)?),
        totp_secret: None,
        session_secrets: Vec::new(),
        session_duration: Duration::from_hours(1),
        agent_token: None,
        admin_token: Some(Secret::new(ADMIN)),
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let settings = Settings {
        data_dir,
        server: Server {
            version: version.clone(),
            started_at: Time::now(),
            store_error: None,
            shared_agent_token: false,
        },
        beacon: Duration::from_secs(30),
        notify: Vec::new(),
        base_url: None,
        render: Arc::new(Pages::default()),
        remote: remote::Settings::none("main", Duration::from_secs(30)),
        access: access::Settings::new(access),
        hosts: Arc::new(host_core::Settings {
            server_version: version,
            daemon_started: Time::now(),
            totp_configured: false,
            kill_at_limit: false,
            alike: Arc::default(),
            auto_test: true,
        }),
        retention: nixfleet_model::retention::Retention::default(),
        wake_by: ([127, 0, 0, 1], 9).into(),
        people: tokio::runtime::Handle::current(),
    };
    let slots = Slots::default();
    let handles = Handles::new(&slots);
    let (fatal, _) = watch::channel(None);
    let args = nixfleet::actors::root::Args { settings, slots: slots.clone(), handles: handles.clone(), fatal };
    slots.root.seat(Actor::spawn(None, Root, args).await?.0);
    for number in 0..HOSTS {
        handles.hosts.create(crate::agents::name(number).parse()?, "bench".to_owned()).await?;
    }
    Ok((slots, handles))
}

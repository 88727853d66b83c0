//! Faults: a fleet of real agents and the real daemon under a random plan of kills, stops, bad links, full disks and
//! jumping clocks; and the ledger that is checked when all is quiet again. Nothing may be lost, nothing doubled,
//! no end may be false.
//!
//! ```text
//! seed → plan → storm ──→ daemon, agents, runners, disks, clocks
//!                   └───→ proxy (between each agent and the daemon)
//! clients ─→ API        tabs ─→ /ws        scripts ─→ witness
//! quiet → accounts (API, hosts' disks, witness) → ledger → findings
//! ```
//!
//! `NIXFLEET_SEED` names the first round's seed, `NIXFLEET_HARNESS_FOR` how long it goes on: `90s`, `10m`, `2h`, or
//! `1000kills`. A minute without it. Each further round has the next seed.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a round that can't go on fails, and says where"
)]

mod accounts;
mod clients;
mod dice;
mod ledger;
mod place;
mod plan;
mod processes;
mod proxy;
mod round;
mod storm;
mod tab;
mod told;
mod witness;
mod world;

#[path = "../stories/api.rs"]
mod api;
#[expect(dead_code, reason = "the builder of the stories; not every verb of theirs is needed here")]
#[path = "../stories/fleet.rs"]
mod fleet;
#[expect(dead_code, reason = "as above")]
#[path = "../stories/repository.rs"]
mod repository;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use plan::{Plan, Style};
use told::Tally;
use world::World;

/// How long faults go on in a round.
const SPAN: u64 = 12_000;
/// Seeds that are multiples of this have one long silence.
const PATIENT: u64 = 8;
/// A round that takes longer hangs: its processes are ended, and what waits for them says so.
const HANGS: Duration = Duration::from_mins(8);

/// How long to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    For(Duration),
    Kills(u64),
}

impl Limit {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = (text[..digits].parse().ok()?, &text[digits..]);
        Some(match unit {
            "s" => Self::For(Duration::from_secs(number)),
            "m" => Self::For(Duration::from_secs(number * 60)),
            "h" => Self::For(Duration::from_secs(number * 3600)),
            "kills" => Self::Kills(number),
            _ => return None,
        })
    }

    fn is_reached(self, began: Instant, tally: &Tally) -> bool {
        match self {
            Self::For(span) => began.elapsed() >= span,
            Self::Kills(kills) => tally.kills() >= kills,
        }
    }
}

/// The seeds, one for each round. Those that nobody asked for have no long silence: a minute would not hold it.
fn seeds() -> impl Iterator<Item = u64> {
    let given = std::env::var("NIXFLEET_SEED").ok().map(|seed| seed.parse().expect("NIXFLEET_SEED is a number"));
    let now = u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let first = given.unwrap_or(now);
    (first..).filter(move |seed| given.is_some() || !seed.is_multiple_of(PATIENT))
}

/// Plays the round of a seed; fails with everything that is needed to look into it.
fn play(seed: u64) -> Tally {
    let plan = Plan::of(seed, Style { span: SPAN, patient: seed.is_multiple_of(PATIENT) });
    let again = format!("NIXFLEET_SEED={seed} NIXFLEET_HARNESS_FOR=1s cargo nextest run --test harness --no-capture");
    println!("seed {seed}: {} hosts, {} steps; again: {again}", plan.hosts, plan.steps.len());
    let mut world = World::new(plan.hosts, place::machine());
    let dirs = [world.fleet.dir().to_owned(), world.dir.path().to_owned()];
    let (over, watched) = channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if watched.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout) {
            println!("seed {seed} hangs; its processes are ended");
            for pid in dirs.iter().flat_map(|dir| fleet::processes_in(dir)) {
                fleet::signal(pid, rustix::process::Signal::KILL);
            }
        }
    });
    let outcome = round::play(&mut world, &plan);
    drop(over);
    watchdog.join().unwrap();
    if !outcome.findings.is_empty() {
        let last = outcome.done.len().saturating_sub(25);
        let kept = world.keep();
        panic!(
            "seed {seed}: {} findings\n  {}\nthe last steps:\n  {}\nkept: {kept:?}\nagain: {again}",
            outcome.findings.len(),
            outcome.findings.join("\n  "),
            outcome.done[last..].join("\n  "),
        );
    }
    println!("seed {seed}: {}, 0 lost, 0 doubled, all ends true", outcome.tally);
    outcome.tally
}

#[test]
fn whatever_happens_nothing_is_lost_and_nothing_doubled() {
    let asked = std::env::var("NIXFLEET_HARNESS_FOR").unwrap_or_else(|_| "60s".to_owned());
    let limit = Limit::parse(&asked).expect("NIXFLEET_HARNESS_FOR is like 90s, 10m, 2h or 1000kills");
    let (began, mut all, mut rounds) = (Instant::now(), Tally::default(), 0);
    for seed in seeds() {
        all.add(&play(seed));
        rounds += 1;
        if limit.is_reached(began, &all) {
            break;
        }
    }
    println!("{rounds} rounds in {} s: {all}, 0 lost, 0 doubled, all ends true", began.elapsed().as_secs());
}

#[test]
fn how_long_to_go_on_is_read() {
    for (text, limit) in [
        ("90s", Some(Limit::For(Duration::from_secs(90)))),
        ("10m", Some(Limit::For(Duration::from_mins(10)))),
        ("2h", Some(Limit::For(Duration::from_hours(2)))),
        ("1000kills", Some(Limit::Kills(1000))),
        ("10", None),
        ("soon", None),
    ] {
        assert_eq!(Limit::parse(text), limit, "{text}");
    }
}

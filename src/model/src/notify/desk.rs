//! The desk at which notices become letters: one letter at a time to a channel, one a minute of a kind, none in quiet
//! hours, and again after a while when it was not taken.
//!
//! Nothing here is lost in a crash: what waits and what is remembered is in the step's writes, and the letters of a
//! step may leave when those are on disk. What is not stored (how often it failed in a row) begins anew.

use std::collections::BTreeMap;
use std::time::Duration;

use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Category, Level};

use super::news::look;
use super::words::{self, Gathered};
use super::{Channel, Counts, Kind, Letter, Memory, News, Sight, Waiting};
use crate::event::NewEvent;

/// Between two letters of a kind to a channel.
pub const A_MINUTE: Duration = Duration::from_mins(1);
/// Notices of a kind that a channel keeps one by one; what comes then is counted.
pub const KEPT: usize = 100;
/// The first pause after a letter that was not taken; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_mins(10);
/// The longest that a receiver may ask us to wait.
const ASKED_PAUSE: Duration = Duration::from_hours(1);
/// How often a receiver may say that a letter itself is bad before it is let go: the others wait behind it.
const REFUSALS: u32 = 3;

/// Why a letter was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people, without anything secret.
    pub why: String,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The receiver is there and finds the letter itself bad.
    pub refused: bool,
}

/// A letter was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// But not for these: whom and why, for people.
    pub left_out: Vec<String>,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The fleet was looked at.
    Look(Sight<'a>),
    /// A letter came to its end.
    Sent {
        /// The channel's place in the list.
        channel: usize,
        /// The letter's id.
        id: String,
        /// Whether it was taken.
        outcome: Result<Taken, Failure>,
    },
    /// [`Desk::next_wake`] has come.
    Timer,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Notices to be stored, by number.
    pub put: Vec<(u64, Waiting)>,
    /// Notices to be removed.
    pub remove: Vec<u64>,
    /// The memory, where it changed.
    pub memory: Option<Box<Memory>>,
    /// For the audit log.
    pub events: Vec<NewEvent>,
    /// Letters that leave when all that is on disk, by the channel's place.
    pub send: Vec<(usize, Letter)>,
}

/// How a channel is, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneView {
    /// Notices that it has not taken yet.
    pub waiting: u64,
    /// A letter is on its way now.
    pub sending: bool,
    /// It takes nothing until then: quiet hours.
    pub quiet_until: Option<Time>,
    /// When the next attempt is made, after one that failed.
    pub retry_at: Option<Time>,
    /// When it last took a letter, since the daemon's start.
    pub last_success: Option<Time>,
    /// Why the last attempt failed, and when; nothing after one that did not.
    pub last_error: Option<(Time, String)>,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    /// The id of the letter on its way.
    sending: Option<String>,
    /// Failures in a row.
    failures: u32,
    /// How often the letter was called bad.
    refusals: u32,
    retry_at: Option<Time>,
    last_success: Option<Time>,
    last_error: Option<(Time, String)>,
}

/// The desk.
#[derive(Clone, Debug)]
pub struct Desk {
    channels: Vec<Channel>,
    lanes: Vec<Lane>,
    memory: Memory,
    waiting: BTreeMap<u64, Waiting>,
    base_url: Option<String>,
}

impl Desk {
    /// From what was stored. `origin` is used where there is no memory yet. Notices for channels that are configured no
    /// more are let go by the first step.
    pub fn new(
        channels: Vec<Channel>,
        base_url: Option<String>,
        memory: Option<Memory>,
        waiting: BTreeMap<u64, Waiting>,
        origin: String,
    ) -> Self {
        let mut memory = memory.unwrap_or_default();
        if memory.origin.is_empty() {
            memory.origin = origin;
        }
        memory.last = memory.last.max(waiting.keys().next_back().copied().unwrap_or_default());
        let lanes = channels.iter().map(|_| Lane::default()).collect();
        Self { channels, lanes, memory, waiting, base_url }
    }

    /// What is remembered.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// One step.
    pub fn step(&mut self, input: &Input<'_>, now: Time) -> Step {
        let mut step = Step::default();
        let before = self.memory.clone();
        self.nothing_was_in_the_future(now);
        match input {
            Input::Look(sight) => {
                for news in look(&mut self.memory, sight, now) {
                    self.take(&news, &mut step);
                }
            }
            Input::Sent { channel, id, outcome } => self.sent(*channel, id, outcome, now, &mut step),
            Input::Timer => {}
        }
        self.forget_channels_that_are_gone(&mut step);
        for channel in 0..self.channels.len() {
            self.dispatch(channel, now, &mut step);
        }
        if self.memory != before {
            step.memory = Some(Box::new(self.memory.clone()));
        }
        // Of one notice the last word counts.
        step.put.retain(|(number, _)| self.waiting.contains_key(number));
        let mut puts: BTreeMap<u64, Waiting> = BTreeMap::new();
        puts.extend(step.put.drain(..));
        step.put = puts.into_iter().collect();
        step
    }

    /// When the desk wants [`Input::Timer`] next.
    pub fn next_wake(&self, now: Time) -> Option<Time> {
        (0..self.channels.len()).filter_map(|channel| self.due(channel, now)).min()
    }

    /// How a channel is.
    pub fn view(&self, channel: usize, now: Time) -> Option<LaneView> {
        let (settings, lane) = (self.channels.get(channel)?, self.lanes.get(channel)?);
        let beyond =
            |counts: &BTreeMap<String, Counts>| counts.get(&settings.name).map_or(0, |of| of.values().sum::<u64>());
        let kept = self.of(channel).count();
        Some(LaneView {
            waiting: u64::try_from(kept).unwrap_or(u64::MAX) + beyond(&self.memory.beyond) + beyond(&self.memory.told),
            sending: lane.sending.is_some(),
            quiet_until: settings.quiet.as_ref().and_then(|quiet| quiet.end(now)),
            retry_at: lane.retry_at,
            last_success: lane.last_success,
            last_error: lane.last_error.clone(),
        })
    }

    /// A letter of the test button came to its end: what is known of the channel is what the page shows.
    pub fn tested(&mut self, channel: usize, outcome: &Result<Taken, Failure>, now: Time) {
        let Some(lane) = self.lanes.get_mut(channel) else { return };
        match outcome {
            Ok(_) => (lane.last_success, lane.last_error) = (Some(now), None),
            Err(failure) => lane.last_error = Some((now, failure.why.clone())),
        }
    }

    /// A clock that was ahead has left moments that have not come yet: nobody is to wait for them.
    fn nothing_was_in_the_future(&mut self, now: Time) {
        let Memory { sent, unreadable, .. } = &mut self.memory;
        for at in sent.values_mut().flat_map(BTreeMap::values_mut).chain(unreadable) {
            *at = now.min(*at);
        }
        let latest = now.plus(ASKED_PAUSE);
        for retry_at in self.lanes.iter_mut().filter_map(|lane| lane.retry_at.as_mut()) {
            if *retry_at > latest {
                *retry_at = now;
            }
        }
    }

    fn of(&self, channel: usize) -> impl Iterator<Item = (u64, &Waiting)> {
        let name = self.channels.get(channel).map_or("", |channel| channel.name.as_str());
        self.waiting
            .iter()
            .filter(move |(_, waiting)| waiting.channel == name)
            .map(|(number, waiting)| (*number, waiting))
    }

    fn forget_channels_that_are_gone(&mut self, step: &mut Step) {
        let channels = &self.channels;
        let known = |name: &str| channels.iter().any(|channel| channel.name == name);
        let lost: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| !known(&waiting.channel)).map(|(number, _)| *number).collect();
        for number in lost {
            self.waiting.remove(&number);
            step.remove.push(number);
        }
        let memory = &mut self.memory;
        memory.sent.retain(|name, _| known(name));
        memory.beyond.retain(|name, _| known(name));
        memory.told.retain(|name, _| known(name));
    }

    /// Gives each channel that takes it its own copy.
    fn take(&mut self, news: &News, step: &mut Step) {
        let kind = news.notice.kind;
        for channel in self.channels.iter().filter(|channel| channel.rules.take(news)) {
            let of_kind = |waiting: &&Waiting| waiting.channel == channel.name && waiting.notice.kind == kind;
            if self.waiting.values().filter(of_kind).count() >= KEPT {
                *self.memory.beyond.entry(channel.name.clone()).or_default().entry(kind).or_default() += 1;
                continue;
            }
            self.memory.last += 1;
            let waiting = Waiting { channel: channel.name.clone(), notice: news.notice.clone(), letter: None };
            self.waiting.insert(self.memory.last, waiting.clone());
            step.put.push((self.memory.last, waiting));
        }
    }

    /// From when on a kind may go out again.
    fn free_at(&self, channel: usize, kind: Kind) -> Time {
        let name = self.channels.get(channel).map_or("", |channel| channel.name.as_str());
        let sent = self.memory.sent.get(name).and_then(|sent| sent.get(&kind));
        sent.map_or(Time::default(), |sent| sent.plus(A_MINUTE))
    }

    /// What goes next, and from when on: the letter that was tried, what was held back in quiet hours, or the kind that
    /// may go first.
    fn next(&self, channel: usize) -> Option<(Time, Vec<u64>, Gathered)> {
        let settings = self.channels.get(channel)?;
        let tried: Vec<u64> =
            self.of(channel).filter(|(_, it)| it.letter.is_some()).map(|(number, _)| number).collect();
        if !tried.is_empty() {
            let quiet = self.held(settings, &tried);
            return Some((Time::default(), tried, if quiet { Gathered::Quiet } else { Gathered::Free }));
        }
        let held: Vec<u64> =
            self.of(channel).map(|(number, _)| number).filter(|number| self.held(settings, &[*number])).collect();
        if !held.is_empty() {
            let kinds = held.iter().filter_map(|number| self.waiting.get(number)).map(|waiting| waiting.notice.kind);
            let free = kinds.map(|kind| self.free_at(channel, kind)).max().unwrap_or_default();
            return Some((free, held, Gathered::Quiet));
        }
        let kinds = self.of(channel).map(|(_, waiting)| waiting.notice.kind);
        let (free, kind) = kinds.map(|kind| (self.free_at(channel, kind), kind)).min()?;
        let of_kind: Vec<_> = self.of(channel).filter(|(_, waiting)| waiting.notice.kind == kind).collect();
        let waited = of_kind.iter().any(|(_, waiting)| waiting.notice.at < free);
        let gathered = if waited { Gathered::After } else { Gathered::Free };
        Some((free, of_kind.into_iter().map(|(number, _)| number).collect(), gathered))
    }

    /// Whether the first of these came in the channel's quiet hours.
    fn held(&self, settings: &Channel, numbers: &[u64]) -> bool {
        let first = numbers.first().and_then(|number| self.waiting.get(number));
        settings.quiet.as_ref().zip(first).is_some_and(|(quiet, first)| quiet.covers(first.notice.at))
    }

    fn due(&self, channel: usize, now: Time) -> Option<Time> {
        let lane = self.lanes.get(channel).filter(|lane| lane.sending.is_none())?;
        let (free, _, _) = self.next(channel)?;
        let at = free.max(lane.retry_at.unwrap_or_default()).max(now);
        let quiet = self.channels.get(channel)?.quiet.as_ref();
        Some(quiet.and_then(|quiet| quiet.end(at)).unwrap_or(at))
    }

    fn dispatch(&mut self, channel: usize, now: Time, step: &mut Step) {
        if self.due(channel, now).is_none_or(|due| due > now) {
            return;
        }
        let Some((_, numbers, gathered)) = self.next(channel) else { return };
        let (Some(name), Some(first)) = (self.channels.get(channel).map(|it| it.name.clone()), numbers.first()) else {
            return;
        };
        let mut notices = Vec::new();
        for number in &numbers {
            let Some(waiting) = self.waiting.get_mut(number) else { continue };
            if waiting.letter.is_none() {
                waiting.letter = Some(*first);
                step.put.push((*number, waiting.clone()));
            }
            notices.push(waiting.notice.clone());
        }
        let sent = self.memory.sent.entry(name.clone()).or_default();
        for notice in &notices {
            sent.insert(notice.kind, now);
        }
        // What is only counted goes with the first letter of its kind, and stays with it over retries.
        if !self.memory.told.contains_key(&name)
            && let Some(beyond) = self.memory.beyond.get_mut(&name)
        {
            let told: Counts =
                beyond.extract_if(.., |kind, _| notices.iter().any(|notice| notice.kind == *kind)).collect();
            if !told.is_empty() {
                self.memory.told.insert(name.clone(), told);
            }
        }
        let told = self.memory.told.get(&name).cloned().unwrap_or_default();
        let id = format!("{}-{first}", self.memory.origin);
        let mut letter = words::letter(id.clone(), notices, &told, gathered, self.base_url.as_deref());
        if let Some(lane) = self.lanes.get_mut(channel) {
            letter.tries = lane.failures;
            lane.sending = Some(id);
            lane.retry_at = None;
        }
        step.send.push((channel, letter));
    }

    fn sent(&mut self, channel: usize, id: &str, outcome: &Result<Taken, Failure>, now: Time, step: &mut Step) {
        let Some(name) = self.channels.get(channel).map(|channel| channel.name.clone()) else { return };
        let Some(lane) = self.lanes.get_mut(channel).filter(|lane| lane.sending.as_deref() == Some(id)) else { return };
        lane.sending = None;
        match outcome {
            Ok(Taken { left_out }) => {
                *lane = Lane { last_success: Some(now), ..Lane::default() };
                let title = self.over(channel, &name, Some(now), step);
                if !left_out.is_empty() {
                    let message = format!("{name} reached not everybody ({title}): {}", left_out.join("; "));
                    step.events.push(refused(Level::Warn, message, now));
                }
            }
            Err(failure) => {
                lane.last_error = Some((now, failure.why.clone()));
                lane.refusals += u32::from(failure.refused);
                if lane.refusals >= REFUSALS {
                    (lane.refusals, lane.failures) = (0, 0);
                    let title = self.over(channel, &name, None, step);
                    let message = format!("{name} would not take a notification ({title}): {}", failure.why);
                    step.events.push(refused(Level::Error, message, now));
                    return;
                }
                let doubled = FIRST_PAUSE.saturating_mul(1 << lane.failures.min(10)).min(LAST_PAUSE);
                lane.failures = lane.failures.saturating_add(1);
                let asked = failure.retry_after.unwrap_or_default().min(ASKED_PAUSE);
                lane.retry_at = Some(now.plus(doubled.max(asked)));
            }
        }
    }

    /// The letter under way is over; the title of its first notice.
    fn over(&mut self, channel: usize, name: &str, taken: Option<Time>, step: &mut Step) -> String {
        let numbers: Vec<u64> =
            self.of(channel).filter(|(_, waiting)| waiting.letter.is_some()).map(|(number, _)| number).collect();
        let mut title = String::new();
        for number in numbers {
            let Some(waiting) = self.waiting.remove(&number) else { continue };
            step.remove.push(number);
            if let Some(taken) = taken {
                self.memory.sent.entry(name.to_owned()).or_default().insert(waiting.notice.kind, taken);
            }
            if title.is_empty() {
                title = waiting.notice.title;
            }
        }
        self.memory.told.remove(name);
        title
    }
}

fn refused(level: Level, message: String, now: Time) -> NewEvent {
    NewEvent::new(now, Category::Error, level, "system", "notification_refused", message)
}

//! When the remote is asked, who waits for the answer, and what a failure means.
//!
//! Who asks must not be answered by a poll that began before the question: what was pushed in between would be
//! missed. So questions that come while a poll is under way wait for the next one, all of them for the same.
//! Time is monotone, as a span since any fixed moment; a timer that was overtaken has an old generation.
//!
//! ```text
//!        ask, due                 good: answer all, due in an interval
//!  idle ──────────► under way ──┬──────────────────────────────────────► idle
//!   ▲                           ├ bad, a retry is left: answer the hasty, due soon
//!   └───────────────────────────┴ bad, none is left: verdict, answer all, due in an interval
//! ```

use std::time::Duration;

/// How long after a failure it is tried again: three times, within ten seconds.
pub const RETRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(5)];

/// After this long no further retry begins, however slow the failures were.
pub const RETRY_WINDOW: Duration = Duration::from_secs(10);

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// One attempt, good or bad.
    Attempt,
    /// A good answer, or the failure of all retries.
    Verdict,
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<W> {
    /// Ask the remote, and call [`Polling::ended`] with this number.
    Start(u64),
    /// Call [`Polling::wake`] with the generation, after the time.
    Wake(Duration, u64),
    /// The retries failed too: the failure is to be taken seriously.
    Verdict,
    /// These waited for what has happened now.
    Answer(Vec<W>),
}

/// The schedule of one remote. `W` is whoever waits.
#[derive(Debug)]
pub struct Polling<W> {
    interval: Duration,
    /// Number of the newest attempt or timer.
    generation: u64,
    under_way: bool,
    again: bool,
    /// Whom the poll under way, or its retry, answers.
    served: Vec<(W, Patience)>,
    /// Who asked while a poll was under way.
    queued: Vec<(W, Patience)>,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    first: Duration,
    retries: usize,
}

impl<W> Polling<W> {
    /// Nothing runs; the first begin starts it.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(Duration::from_millis(1)),
            generation: 0,
            under_way: false,
            again: false,
            served: Vec::new(),
            queued: Vec::new(),
            failed: None,
        }
    }

    /// Whether a poll is under way.
    pub fn under_way(&self) -> bool {
        self.under_way
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.served.len() + self.queued.len()
    }

    /// Something calls for a poll that begins after this moment; nobody waits for it.
    pub fn nudge(&mut self) -> Vec<Effect<W>> {
        if self.under_way {
            self.again = true;
            return Vec::new();
        }
        vec![self.start()]
    }

    /// Somebody asks, and is answered by a poll that begins after this moment.
    pub fn ask(&mut self, waiter: W, patience: Patience) -> Vec<Effect<W>> {
        self.queued.push((waiter, patience));
        self.nudge()
    }

    /// The timer of this generation is due.
    pub fn wake(&mut self, generation: u64) -> Vec<Effect<W>> {
        if self.under_way || generation != self.generation {
            return Vec::new();
        }
        vec![self.start()]
    }

    /// The attempt with this number ended, well or badly, at this moment. `rest`: for so long the other side wants no
    /// question that nobody waits for; a retry that would come sooner is none.
    pub fn ended(&mut self, attempt: u64, well: bool, rest: Option<Duration>, at: Duration) -> Vec<Effect<W>> {
        if !self.under_way || attempt != self.generation {
            return Vec::new();
        }
        self.under_way = false;
        let mut effects = Vec::new();
        let rest = rest.unwrap_or_default();
        let retry = if well { None } else { self.retry(at).filter(|pause| *pause >= rest) };
        if retry.is_none() {
            self.failed = None;
            if !well {
                effects.push(Effect::Verdict);
            }
        }
        let over = |patience| retry.is_none() || patience == Patience::Attempt;
        let (answered, patient): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.served).into_iter().partition(|(_, patience)| over(*patience));
        self.served = patient;
        if !answered.is_empty() {
            effects.push(Effect::Answer(answered.into_iter().map(|(waiter, _)| waiter).collect()));
        }
        if self.again || !self.queued.is_empty() {
            effects.push(self.start());
        } else {
            self.generation += 1;
            effects.push(Effect::Wake(retry.unwrap_or(self.interval.max(rest)), self.generation));
        }
        effects
    }

    fn start(&mut self) -> Effect<W> {
        self.generation += 1;
        self.under_way = true;
        self.again = false;
        self.served.append(&mut self.queued);
        Effect::Start(self.generation)
    }

    fn retry(&mut self, at: Duration) -> Option<Duration> {
        let failed = self.failed.get_or_insert(Failed { first: at, retries: 0 });
        let pause = *RETRIES.get(failed.retries)?;
        failed.retries += 1;
        (at.saturating_sub(failed.first) + pause <= RETRY_WINDOW).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Duration = Duration::from_secs(1);
    const INTERVAL: Duration = Duration::from_secs(30);

    fn polling() -> Polling<char> {
        Polling::new(INTERVAL)
    }

    #[test]
    fn a_good_poll_is_followed_by_the_next_in_an_interval() {
        let mut polling = polling();
        assert_eq!(polling.nudge(), [Effect::Start(1)]);
        assert_eq!(polling.ended(1, true, None, S), [Effect::Wake(INTERVAL, 2)]);
        assert_eq!(polling.wake(1), [], "a timer that was overtaken");
        assert_eq!(polling.wake(2), [Effect::Start(3)]);
    }

    #[test]
    fn who_wants_rest_is_given_it_and_people_ask_all_the_same() {
        let mut polling = polling();
        polling.nudge();
        assert_eq!(polling.ended(1, true, Some(S * 90), S), [Effect::Wake(S * 90, 2)], "longer than the interval");
        assert_eq!(polling.wake(2), [Effect::Start(3)]);
        assert_eq!(polling.ended(3, true, Some(S * 2), S), [Effect::Wake(INTERVAL, 4)], "never shorter");
        polling.wake(4);
        let effects = polling.ended(5, false, Some(S * 600), S);
        assert_eq!(effects, [Effect::Verdict, Effect::Wake(S * 600, 6)], "a retry would be refused too");
        assert_eq!(polling.ask('p', Patience::Attempt), [Effect::Start(7)]);
    }

    #[test]
    fn a_failed_poll_is_retried_three_times_within_ten_seconds() {
        let mut polling = polling();
        polling.nudge();
        assert_eq!(polling.ended(1, false, None, S), [Effect::Wake(S, 2)]);
        polling.wake(2);
        assert_eq!(polling.ended(3, false, None, S * 2), [Effect::Wake(S * 3, 4)]);
        polling.wake(4);
        assert_eq!(polling.ended(5, false, None, S * 5), [Effect::Wake(S * 5, 6)]);
        polling.wake(6);
        assert_eq!(polling.ended(7, false, None, S * 10), [Effect::Verdict, Effect::Wake(INTERVAL, 8)]);
        polling.wake(8);
        assert_eq!(polling.ended(9, false, None, S * 41), [Effect::Wake(S, 10)], "the next poll has its own retries");
    }

    #[test]
    fn slow_failures_have_fewer_retries() {
        let mut polling = polling();
        polling.nudge();
        assert_eq!(polling.ended(1, false, None, S * 20), [Effect::Wake(S, 2)]);
        polling.wake(2);
        assert_eq!(polling.ended(3, false, None, S * 41), [Effect::Verdict, Effect::Wake(INTERVAL, 4)]);
    }

    #[test]
    fn who_asks_is_answered_by_a_poll_that_began_later() {
        let mut polling = polling();
        assert_eq!(polling.ask('a', Patience::Attempt), [Effect::Start(1)]);
        assert_eq!(polling.ask('b', Patience::Attempt), []);
        assert_eq!(polling.ask('c', Patience::Attempt), []);
        assert_eq!(polling.ended(1, true, None, S), [Effect::Answer(vec!['a']), Effect::Start(2)]);
        assert_eq!(polling.ended(2, true, None, S), [Effect::Answer(vec!['b', 'c']), Effect::Wake(INTERVAL, 3)]);
    }

    #[test]
    fn the_hasty_are_answered_by_one_attempt_and_the_patient_by_the_verdict() {
        let mut polling = polling();
        polling.ask('h', Patience::Attempt);
        assert_eq!(polling.ended(1, false, None, S), [Effect::Answer(vec!['h']), Effect::Wake(S, 2)]);
        assert_eq!(polling.ask('p', Patience::Verdict), [Effect::Start(3)]);
        assert_eq!(polling.ended(3, false, None, S), [Effect::Wake(S * 3, 4)]);
        polling.wake(4);
        assert_eq!(polling.ended(5, true, None, S), [Effect::Answer(vec!['p']), Effect::Wake(INTERVAL, 6)]);
    }

    #[test]
    fn a_nudge_in_a_poll_makes_one_more() {
        let mut polling = polling();
        polling.nudge();
        assert_eq!((polling.nudge(), polling.nudge()), (vec![], vec![]));
        assert_eq!(polling.ended(1, true, None, S), [Effect::Start(2)]);
        assert_eq!(polling.ended(2, true, None, S), [Effect::Wake(INTERVAL, 3)]);
    }

    proptest! {
        /// Whatever comes: it is either under way or has exactly one live timer, and nobody waits for ever.
        #[test]
        fn it_never_sticks(inputs in proptest::collection::vec(0..5_u8, 0..200)) {
            let mut polling = Polling::new(INTERVAL);
            let (mut asked, mut answered, mut timer, mut attempt) = (0, 0, None, None);
            let mut perform = |effects: Vec<Effect<u32>>, timer: &mut Option<u64>, attempt: &mut Option<u64>| {
                for effect in effects {
                    match effect {
                        Effect::Start(number) => (*attempt, *timer) = (Some(number), None),
                        Effect::Wake(_, generation) => *timer = Some(generation),
                        Effect::Answer(who) => answered += who.len(),
                        Effect::Verdict => {}
                    }
                }
            };
            perform(polling.nudge(), &mut timer, &mut attempt);
            for input in inputs {
                let effects = match (input, attempt.take()) {
                    (0, running) => { attempt = running; asked += 1; polling.ask(0, Patience::Attempt) }
                    (1, running) => { attempt = running; asked += 1; polling.ask(0, Patience::Verdict) }
                    (2, running) => { attempt = running; polling.nudge() }
                    (outcome, Some(number)) => polling.ended(number, outcome == 3, (outcome == 5).then_some(S * 60), S),
                    (_, None) => timer.map_or_else(Vec::new, |generation| polling.wake(generation)),
                };
                perform(effects, &mut timer, &mut attempt);
                prop_assert!(attempt.is_some() != timer.is_some());
            }
            for _ in 0..8 {
                let effects = match attempt.take() {
                    Some(number) => polling.ended(number, true, None, S),
                    None => timer.map_or_else(Vec::new, |generation| polling.wake(generation)),
                };
                perform(effects, &mut timer, &mut attempt);
            }
            prop_assert_eq!(asked, answered);
            prop_assert_eq!(polling.waiting(), 0);
        }
    }
}

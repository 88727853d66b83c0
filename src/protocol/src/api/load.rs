//! How busy a host was: processor and memory, a sample a minute for an hour and one each ten minutes for a day.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Samples of the last hour, one a minute.
pub const HOUR: usize = 60;
/// Samples of the last day, one each ten minutes.
pub const DAY: usize = 144;
/// Milliseconds of a minute.
const MINUTE: i64 = 60_000;
/// Minutes of a sample of the day.
const TEN: i64 = 10;
/// Nothing was heard.
const NONE: u8 = u8::MAX;

/// Two figures in whole percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSample {
    /// Processor.
    pub cpu: Option<u8>,
    /// Memory.
    pub ram: Option<u8>,
}

impl LoadSample {
    const fn packed(self) -> Packed {
        [pack(self.cpu), pack(self.ram)]
    }

    fn unpacked([cpu, ram]: Packed) -> Self {
        let figure = |byte: u8| (byte <= 100).then_some(byte);
        Self { cpu: figure(cpu), ram: figure(ram) }
    }
}

const fn pack(percent: Option<u8>) -> u8 {
    match percent {
        Some(percent) if percent < 100 => percent,
        Some(_) => 100,
        None => NONE,
    }
}

type Packed = [u8; 2];

/// The samples of one host: some 400 bytes, and no more with time. Each sample has its place by the clock, so that a
/// time without a word is a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadHistory {
    /// The minute of the newest sample, counted from 1970; 0: none yet.
    newest: i64,
    /// Minute `n` lies at `n % HOUR`.
    hour: [Packed; HOUR],
    /// Ten minutes `n` lie at `n % DAY`.
    day: [Packed; DAY],
}

impl Default for LoadHistory {
    fn default() -> Self {
        Self { newest: 0, hour: [[NONE; 2]; HOUR], day: [[NONE; 2]; DAY] }
    }
}

/// Where a number has its place.
fn place(number: i64, of: usize) -> usize {
    usize::try_from(number.rem_euclid(i64::try_from(of).unwrap_or(1))).unwrap_or_default()
}

/// The numbers after `from`, up to `to`, as many as have a place.
fn between(from: i64, to: i64, most: usize) -> impl Iterator<Item = i64> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    from.saturating_add(1).max(to.saturating_sub(most) + 1)..=to
}

impl LoadHistory {
    /// Keeps the sample of a minute that is over. A clock that was set back takes what lies ahead of it away.
    pub fn keep(&mut self, minute: i64, sample: LoadSample) {
        let (from, to) = (self.newest.min(minute), self.newest.max(minute));
        for other in between(from, to, HOUR) {
            self.hour[place(other, HOUR)] = [NONE; 2];
        }
        for other in between(from.div_euclid(TEN), to.div_euclid(TEN), DAY) {
            self.day[place(other, DAY)] = [NONE; 2];
        }
        self.newest = minute;
        self.hour[place(minute, HOUR)] = sample.packed();
        let ten = minute.div_euclid(TEN);
        let minutes = || (ten * TEN..=minute).map(|it| LoadSample::unpacked(self.hour[place(it, HOUR)]));
        let mean = LoadSample { cpu: mean(minutes().map(|it| it.cpu)), ram: mean(minutes().map(|it| it.ram)) };
        self.day[place(ten, DAY)] = mean.packed();
    }

    /// Whether there is no sample at all.
    pub const fn is_empty(&self) -> bool {
        self.newest == 0
    }

    /// The hour up to the newest sample, oldest first.
    pub fn hour(&self) -> impl ExactSizeIterator<Item = LoadSample> + Clone {
        let first = self.newest + 1;
        (0..HOUR).map(move |at| {
            LoadSample::unpacked(self.hour[place(first.saturating_add(i64::try_from(at).unwrap_or(0)), HOUR)])
        })
    }

    /// The day up to the newest sample, oldest first. The last one may still be filling.
    pub fn day(&self) -> impl ExactSizeIterator<Item = LoadSample> + Clone {
        let first = self.newest.div_euclid(TEN) + 1;
        (0..DAY).map(move |at| {
            LoadSample::unpacked(self.day[place(first.saturating_add(i64::try_from(at).unwrap_or(0)), DAY)])
        })
    }

    /// When the newest sample of the hour ends.
    pub const fn hour_until(&self) -> Time {
        Time::from_millis(self.newest.saturating_add(1).saturating_mul(MINUTE))
    }

    /// When the newest sample of the day ends.
    pub const fn day_until(&self) -> Time {
        Time::from_millis(self.newest.div_euclid(TEN).saturating_add(1).saturating_mul(TEN * MINUTE))
    }

    /// The minute that a moment lies in.
    pub const fn minute_of(time: Time) -> i64 {
        time.millis().div_euclid(MINUTE)
    }

    /// As it is stored: the newest minute, and the places of the hour and the day as they lie.
    pub fn to_parts(&self) -> (i64, Vec<u8>, Vec<u8>) {
        (self.newest, self.hour.concat(), self.day.concat())
    }

    /// From what was stored; nothing that does not fit is taken.
    pub fn from_parts(newest: i64, hour: &[u8], day: &[u8]) -> Self {
        let mut all = Self::default();
        if newest > 0 && hour.len() == 2 * HOUR && day.len() == 2 * DAY {
            all.newest = newest;
            for (place, pair) in all.hour.iter_mut().zip(hour.as_chunks::<2>().0) {
                *place = *pair;
            }
            for (place, pair) in all.day.iter_mut().zip(day.as_chunks::<2>().0) {
                *place = *pair;
            }
        }
        all
    }
}

/// The mean of what was heard, rounded.
fn mean(figures: impl Iterator<Item = Option<u8>>) -> Option<u8> {
    let (sum, count) =
        figures.flatten().fold((0_u32, 0_u32), |(sum, count), figure| (sum + u32::from(figure), count + 1));
    u8::try_from((sum + count / 2).checked_div(count)?).ok()
}

/// Samples at equal steps: lists of whole percents, null where nothing was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSeries {
    /// When the last sample ends; null before there is one.
    pub until: Option<Time>,
    /// Seconds of one sample.
    pub step_s: u32,
    /// Processor, oldest first.
    pub cpu: Vec<Option<u8>>,
    /// Memory, oldest first.
    pub ram: Vec<Option<u8>>,
}

/// `GET /api/v1/hosts/{host}/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLoad {
    /// The last hour, a sample a minute.
    pub hour: LoadSeries,
    /// The last 24 hours, a sample each ten minutes.
    pub day: LoadSeries,
}

impl From<&LoadHistory> for HostLoad {
    fn from(past: &LoadHistory) -> Self {
        let series = |until: Time, step_s, samples: &mut dyn Iterator<Item = LoadSample>| {
            let (cpu, ram) = samples.map(|sample| (sample.cpu, sample.ram)).unzip();
            LoadSeries { until: (!past.is_empty()).then_some(until), step_s, cpu, ram }
        };
        Self {
            hour: series(past.hour_until(), 60, &mut past.hour()),
            day: series(past.day_until(), 600, &mut past.day()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(cpu: u8, ram: u8) -> LoadSample {
        LoadSample { cpu: Some(cpu), ram: Some(ram) }
    }

    fn cpu(samples: impl Iterator<Item = LoadSample>) -> Vec<Option<u8>> {
        samples.map(|sample| sample.cpu).collect()
    }

    #[test]
    fn an_absence_is_a_gap_and_a_longer_one_takes_all() {
        let mut past = LoadHistory::default();
        past.keep(1_000, sample(10, 1));
        past.keep(1_003, sample(20, 2));
        assert_eq!(cpu(past.hour())[56..], [Some(10), None, None, Some(20)]);
        assert_eq!(cpu(past.day())[143], Some(15), "the mean of what was heard");
        past.keep(1_075, sample(30, 3));
        assert_eq!(cpu(past.hour()).iter().flatten().collect::<Vec<_>>(), [&30]);
        assert_eq!(cpu(past.day())[136..], [Some(15), None, None, None, None, None, None, Some(30)]);
        past.keep(9_000, sample(40, 4));
        assert_eq!(cpu(past.day()).iter().flatten().collect::<Vec<_>>(), [&40]);
        assert_eq!(past.hour_until(), Time::from_millis(9_001 * 60_000));
    }

    #[test]
    fn a_clock_that_was_set_back_takes_the_future_away() {
        let mut past = LoadHistory::default();
        for minute in 1_000..1_060 {
            past.keep(minute, sample(50, 5));
        }
        past.keep(1_030, sample(7, 7));
        assert_eq!(cpu(past.hour()).iter().flatten().count(), 31);
        assert_eq!(past.hour().last(), Some(sample(7, 7)));
    }

    #[test]
    fn it_is_small_and_reads_back() {
        assert!(size_of::<LoadHistory>() <= 416);
        let mut past = LoadHistory::default();
        past.keep(29_000_000, LoadSample { cpu: Some(255), ram: None });
        let (newest, hour, day) = past.to_parts();
        assert_eq!(LoadHistory::from_parts(newest, &hour, &day), past);
        assert_eq!(LoadHistory::from_parts(newest, &hour[1..], &day), LoadHistory::default());
        let told = serde_json::to_value(HostLoad::from(&past)).unwrap();
        assert_eq!(told["hour"]["cpu"][59], 100, "more than all is all");
        assert_eq!(told["hour"]["ram"][59], serde_json::Value::Null);
        assert_eq!(told["day"]["step_s"], 600);
        let none = serde_json::to_value(HostLoad::from(&LoadHistory::default())).unwrap();
        assert_eq!(none["day"]["until"], serde_json::Value::Null);
        assert_eq!(none["day"]["cpu"].as_array().unwrap().len(), DAY);
    }

    proptest! {
        /// Whatever the clock does, what is told is what a list of the minutes would tell.
        #[test]
        fn it_tells_what_a_plain_list_tells(steps in prop::collection::vec((-20_i64..90, 0_u8..=100), 1..200)) {
            let mut past = LoadHistory::default();
            let mut plain = std::collections::BTreeMap::new();
            let mut minute = 29_000_000;
            for (step, figure) in steps {
                minute += step;
                past.keep(minute, sample(figure, figure));
                // What had no place any more does not come back with the clock.
                let newest = plain.keys().next_back().copied().unwrap_or(minute).max(minute);
                plain.retain(|other, _| *other < minute && *other > newest - 60);
                plain.insert(minute, figure);
                let told: Vec<_> = (minute - 59..=minute).map(|it| plain.get(&it).copied()).collect();
                prop_assert_eq!(cpu(past.hour()), told);
            }
        }

        #[test]
        fn no_minute_breaks_it(minutes in prop::collection::vec(any::<i64>(), 1..20)) {
            let mut past = LoadHistory::default();
            for minute in minutes {
                past.keep(minute / 60_000, sample(1, 1));
                let _ = (HostLoad::from(&past), past.hour_until(), past.day_until());
            }
        }
    }
}

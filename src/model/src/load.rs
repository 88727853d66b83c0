//! What is remembered of a host's load. Heartbeats come every few seconds: they are added up, and once a minute the
//! mean is kept. What is kept is shared with all who show it, and is copied once a minute at most.

use std::sync::Arc;

use nixfleet_protocol::Time;
use nixfleet_protocol::agent::Metrics;
use nixfleet_protocol::api::{LoadHistory, LoadSample};
use serde::{Deserialize, Serialize};

/// The load of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// The minutes that are over.
    #[serde(with = "parts")]
    pub past: Arc<LoadHistory>,
    /// The minute that heartbeats are added up for. It is not stored: a restart loses this one minute.
    #[serde(skip)]
    minute: i64,
    #[serde(skip)]
    cpu: Sum,
    #[serde(skip)]
    ram: Sum,
}

/// Figures of one minute, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    total: u32,
    count: u32,
}

impl Sum {
    /// Takes a figure; what is no number is none.
    fn add(&mut self, figure: Option<f64>) {
        if let Some(figure) = figure.filter(|figure| figure.is_finite()) {
            self.total = self.total.saturating_add(whole(figure));
            self.count = self.count.saturating_add(1);
        }
    }

    fn mean(self) -> Option<u8> {
        u8::try_from((self.total + self.count / 2).checked_div(self.count)?).ok()
    }
}

/// A percentage as a whole number from 0 to 100.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100 fits")]
fn whole(percent: f64) -> u32 {
    percent.clamp(0.0, 100.0).round() as u32
}

/// As it is stored.
mod parts {
    use std::sync::Arc;

    use nixfleet_protocol::api::LoadHistory;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(past: &LoadHistory, serializer: S) -> Result<S::Ok, S::Error> {
        past.to_parts().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<LoadHistory>, D::Error> {
        let (newest, hour, day) = <(i64, Vec<u8>, Vec<u8>)>::deserialize(deserializer)?;
        Ok(Arc::new(LoadHistory::from_parts(newest, &hour, &day)))
    }
}

impl Load {
    /// From what was stored.
    pub fn of(past: LoadHistory) -> Self {
        Self { past: Arc::new(past), ..Self::default() }
    }

    /// A heartbeat told its load.
    pub fn heard(&mut self, metrics: &Metrics, now: Time) {
        let minute = LoadHistory::minute_of(now);
        if minute != self.minute {
            if self.cpu.count > 0 || self.ram.count > 0 {
                let sample = LoadSample { cpu: self.cpu.mean(), ram: self.ram.mean() };
                Arc::make_mut(&mut self.past).keep(self.minute, sample);
            }
            (self.minute, self.cpu, self.ram) = (minute, Sum::default(), Sum::default());
        }
        self.cpu.add(metrics.cpu);
        self.ram.add(metrics.ram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(load: &mut Load, second: i64, cpu: f64) {
        load.heard(&Metrics { cpu: Some(cpu), ..Metrics::default() }, Time::from_millis(second * 1000));
    }

    fn kept(load: &Load) -> Vec<u8> {
        load.past.hour().filter_map(|sample| sample.cpu).collect()
    }

    #[test]
    fn a_minute_is_kept_when_the_next_begins_and_shared_until_then() {
        let mut load = Load::default();
        beat(&mut load, 6_000, 10.0);
        let shown = Arc::clone(&load.past);
        for (second, cpu) in [(6_005, 20.0), (6_059, 31.0)] {
            beat(&mut load, second, cpu);
            assert!(Arc::ptr_eq(&shown, &load.past), "nothing is copied for a heartbeat");
        }
        beat(&mut load, 6_060, 90.0);
        assert_eq!(kept(&load), [20], "the mean of 10, 20 and 31");
        assert_eq!(load.past.hour_until(), Time::from_millis(6_060_000));
        assert!(shown.is_empty(), "who has the old one sees the old one");
        beat(&mut load, 6_300, 0.0);
        assert_eq!(kept(&load), [20, 90]);
    }

    #[test]
    fn what_is_no_figure_is_a_gap() {
        let mut load = Load::default();
        for (second, cpu) in [(60, f64::NAN), (120, -3.0), (180, 1e300), (240, f64::INFINITY), (300, 5.0)] {
            beat(&mut load, second, cpu);
        }
        assert_eq!(kept(&load), [0, 100]);
    }
}

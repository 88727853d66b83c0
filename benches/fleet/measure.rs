//! Samples of durations and what is said of them.

use std::time::Duration;

/// Durations, in no order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<Duration>);

impl Sample {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The duration that `per_mille` of 1000 do not exceed.
    pub(crate) fn at(&self, per_mille: usize) -> Duration {
        let mut sorted = self.0.clone();
        if sorted.is_empty() {
            return Duration::MAX;
        }
        let at = (sorted.len() * per_mille / 1000).min(sorted.len() - 1);
        *sorted.select_nth_unstable(at).1
    }

    pub(crate) fn p50(&self) -> Duration {
        self.at(500)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.at(990)
    }

    /// For people.
    pub(crate) fn milliseconds(&self) -> String {
        format!("p50 {}, p99 {} ms", ms(self.p50()), ms(self.p99()))
    }
}

impl Extend<Duration> for Sample {
    fn extend<T: IntoIterator<Item = Duration>>(&mut self, durations: T) {
        self.0.extend(durations);
    }
}

/// Milliseconds with as many digits as mean something.
pub(crate) fn ms(span: Duration) -> String {
    let ms = span.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}

/// A quotient of two counts.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// KiB as MiB.
pub(crate) fn mib(kib: u64) -> f64 {
    share(kib, 1024)
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }

    /// A moment within a span.
    pub(crate) fn within(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.roll(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

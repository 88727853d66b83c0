//! Which command folders may go: a pure decision over what each of them holds.
//!
//! Acknowledged and seven days old: the folder goes. All logs together over 1 GiB: the oldest acknowledged ones
//! go first; what was not acknowledged stays, whatever it weighs, because nobody else has it.

use std::time::Duration;

use nixfleet_protocol::{CommandId, Time};

/// How long a folder is kept after its result was acknowledged.
pub const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// The disk that all logs together may take, in bytes.
pub const ALL_LOGS: u64 = 1024 * 1024 * 1024;

/// One acknowledged or waiting command folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Whose.
    pub id: CommandId,
    /// When its result was acknowledged; `None` keeps it.
    pub acknowledged_at: Option<Time>,
    /// Bytes that it takes on disk.
    pub bytes: u64,
}

/// The folders to delete. `held` is sorted, oldest first.
pub fn doomed(held: &[Holding], now: Time) -> Vec<CommandId> {
    let mut total: u64 = held.iter().map(|holding| holding.bytes).sum();
    let mut out = Vec::new();
    for holding in held {
        let Some(at) = holding.acknowledged_at else { continue };
        if now.since(at) >= KEPT_FOR || total > ALL_LOGS {
            total -= holding.bytes;
            out.push(holding.id);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    /// Age in days of each acknowledgement (none: not acknowledged) and bytes; which of them go.
    type Case = (&'static [(Option<i64>, u64)], &'static [u128]);

    #[test]
    fn old_and_acknowledged_goes_and_the_rest_stays() {
        let day = 24 * 3600 * 1000;
        let now = Time::from_millis(100 * day);
        let gib = 1024 * 1024 * 1024;
        let id = |n| CommandId::from_uuid(Uuid::from_u128(n));
        let table: &[Case] = &[
            (&[], &[]),
            (&[(Some(8), 1), (Some(6), 1), (None, 1)], &[0]),
            (&[(None, 1), (Some(7), 1)], &[1]),
            (&[(None, 2 * 1024 * 1024 * 1024), (Some(0), 1), (Some(0), 1)], &[1, 2]),
            (&[(Some(1), 600 << 20), (Some(0), 600 << 20)], &[0]),
        ];
        for (held, gone) in table {
            let held: Vec<Holding> = held
                .iter()
                .zip(0..)
                .map(|((age, bytes), n)| Holding {
                    id: id(n),
                    acknowledged_at: age.map(|days| Time::from_millis((100 - days) * day)),
                    bytes: *bytes,
                })
                .collect();
            assert_eq!(doomed(&held, now), gone.iter().map(|n| id(*n)).collect::<Vec<_>>());
        }
        assert_eq!(ALL_LOGS, gib);
    }
}

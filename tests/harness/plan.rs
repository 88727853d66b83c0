//! What is done to the fleet, and when: a list that a seed alone decides. Timings on the machine vary, the plan does
//! not, so a seed that found something finds it again soon.

use std::fmt;

use crate::dice::Dice;

/// Host number `n` of the round.
pub(crate) type HostNumber = usize;

/// Who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The daemon.
    Daemon,
    /// A host's agent.
    Agent(HostNumber),
}

/// One thing that goes wrong. Spans are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of the daemon; the next one is started at once. `wait`: and the plan goes on when it is ready.
    KillDaemon { wait: bool },
    /// `kill -9` of an agent, away for a while.
    KillAgent { host: HostNumber, away: u64 },
    /// `kill -9` of what carries out the command that runs.
    KillRunner { host: HostNumber },
    /// Daemon and agent at once; `agent_first` comes back first.
    KillBoth { host: HostNumber, agent_first: bool },
    /// Daemon and all agents at once.
    KillAll,
    /// SIGTERM, the end, a start.
    Stop { who: Who },
    /// SIGSTOP, and SIGCONT later.
    Freeze { who: Who, for_ms: u64 },
    /// The connection breaks when so many bytes more went through it.
    Cut { host: HostNumber, after: u64 },
    /// The connection breaks for the agent, and the daemon hears of it so much later.
    HalfOpen { host: HostNumber, for_ms: u64 },
    /// Nothing goes through, nothing is refused.
    Silence { host: HostNumber, for_ms: u64 },
    /// Each piece comes late, and no more bytes than this go through in a second.
    Slow { host: HostNumber, delay: u64, rate: u64, for_ms: u64 },
    /// The network interface goes down.
    Unplug { host: HostNumber, for_ms: u64 },
    /// The network interface lets so many kbit through in a second.
    Throttle { host: HostNumber, kbit: u64, for_ms: u64 },
    /// The disk is full.
    Fill { who: Who, for_ms: u64 },
    /// The clock jumps to this many seconds from the true time.
    Jump { who: Who, to: i64 },
    /// Somebody pushes a commit.
    Push,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Milliseconds after the step before.
    pub(crate) after: u64,
    /// What happens.
    pub(crate) fault: Fault,
}

/// A whole round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What it was made from.
    pub(crate) seed: u64,
    /// How many hosts.
    pub(crate) hosts: usize,
    /// What happens to them.
    pub(crate) steps: Vec<Step>,
}

/// How a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// How long faults go on, in milliseconds of the plan.
    pub(crate) span: u64,
    /// Now and then something hangs for longer than both sides wait for each other (60 and 45 s).
    pub(crate) patient: bool,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64, style: Style) -> Self {
        let mut dice = Dice::of(seed);
        let hosts = usize::try_from(dice.between(3, 6)).unwrap();
        let mut steps = Vec::new();
        let mut at = 0;
        while at < style.span {
            // Mostly one after the other, sometimes at once.
            let after = if dice.once_in(4) { 0 } else { dice.between(20, 450) };
            at += after;
            steps.push(Step { after, fault: fault(&mut dice, hosts) });
        }
        if style.patient {
            let host = usize::try_from(dice.below(hosts as u64)).unwrap();
            let for_ms = dice.between(62_000, 75_000);
            let fault = match dice.below(3) {
                0 => Fault::Silence { host, for_ms },
                1 => Fault::HalfOpen { host, for_ms },
                _ => Fault::Freeze { who: Who::Agent(host), for_ms },
            };
            steps.insert(steps.len() / 2, Step { after: 0, fault });
        }
        Self { seed, hosts, steps }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    KillDaemon,
    KillAgent,
    KillRunner,
    KillBoth,
    KillAll,
    Stop,
    Freeze,
    Cut,
    HalfOpen,
    Silence,
    Slow,
    Unplug,
    Throttle,
    Fill,
    Jump,
    Push,
}

/// How often each kind comes.
const KINDS: &[(u64, Kind)] = &[
    (22, Kind::KillDaemon),
    (20, Kind::KillAgent),
    (22, Kind::KillRunner),
    (6, Kind::KillBoth),
    (1, Kind::KillAll),
    (4, Kind::Stop),
    (4, Kind::Freeze),
    (8, Kind::Cut),
    (3, Kind::HalfOpen),
    (3, Kind::Silence),
    (4, Kind::Slow),
    (2, Kind::Unplug),
    (2, Kind::Throttle),
    (2, Kind::Fill),
    (2, Kind::Jump),
    (5, Kind::Push),
];

fn fault(dice: &mut Dice, hosts: usize) -> Fault {
    let host = usize::try_from(dice.below(hosts as u64)).unwrap();
    let who = if dice.once_in(3) { Who::Daemon } else { Who::Agent(host) };
    match dice.pick(KINDS) {
        Kind::KillDaemon => Fault::KillDaemon { wait: !dice.once_in(4) },
        Kind::KillAgent => Fault::KillAgent { host, away: if dice.once_in(3) { dice.between(100, 1500) } else { 0 } },
        Kind::KillRunner => Fault::KillRunner { host },
        Kind::KillBoth => Fault::KillBoth { host, agent_first: dice.once_in(2) },
        Kind::KillAll => Fault::KillAll,
        Kind::Stop => Fault::Stop { who },
        Kind::Freeze => Fault::Freeze { who, for_ms: dice.between(100, 3000) },
        Kind::Cut => Fault::Cut { host, after: if dice.once_in(2) { dice.below(200) } else { dice.below(60_000) } },
        Kind::HalfOpen => Fault::HalfOpen { host, for_ms: dice.between(500, 6000) },
        Kind::Silence => Fault::Silence { host, for_ms: dice.between(200, 4000) },
        Kind::Slow => Fault::Slow {
            host,
            delay: dice.below(120),
            rate: dice.between(2, 200) * 1000,
            for_ms: dice.between(500, 4000),
        },
        Kind::Unplug => Fault::Unplug { host, for_ms: dice.between(200, 3000) },
        Kind::Throttle => Fault::Throttle { host, kbit: dice.between(64, 2000), for_ms: dice.between(500, 3000) },
        Kind::Fill => Fault::Fill { who, for_ms: dice.between(300, 2500) },
        Kind::Jump => {
            // A second or two as time servers make them, and hours as dead batteries do.
            let far =
                i64::try_from(if dice.once_in(2) { dice.between(1, 5) } else { dice.between(60, 40_000) }).unwrap();
            Fault::Jump { who, to: if dice.once_in(2) { -far } else { far } }
        }
        Kind::Push => Fault::Push,
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon => f.write_str("the daemon"),
            Self::Agent(host) => write!(f, "agent {host}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillDaemon { wait: true } => write!(f, "kill the daemon"),
            Self::KillDaemon { wait: false } => write!(f, "kill the daemon, and go on while it starts"),
            Self::KillAgent { host, away } => write!(f, "kill agent {host}, away for {away} ms"),
            Self::KillRunner { host } => write!(f, "kill the runner of {host}"),
            Self::KillBoth { host, agent_first } => {
                let first = if *agent_first { "the agent" } else { "the daemon" };
                write!(f, "kill the daemon and agent {host}; {first} comes back first")
            }
            Self::KillAll => write!(f, "kill the daemon and all agents"),
            Self::Stop { who } => write!(f, "stop {who} in good order"),
            Self::Freeze { who, for_ms } => write!(f, "freeze {who} for {for_ms} ms"),
            Self::Cut { host, after } => write!(f, "cut the link of {host} after {after} bytes"),
            Self::HalfOpen { host, for_ms } => {
                write!(f, "cut the link of {host}, the daemon hears of it {for_ms} ms later")
            }
            Self::Silence { host, for_ms } => write!(f, "nothing goes through for {host}, {for_ms} ms"),
            Self::Slow { host, delay, rate, for_ms } => {
                write!(f, "slow link of {host}: {delay} ms late, {rate} bytes/s, {for_ms} ms")
            }
            Self::Unplug { host, for_ms } => write!(f, "unplug {host} for {for_ms} ms"),
            Self::Throttle { host, kbit, for_ms } => write!(f, "throttle {host} to {kbit} kbit/s for {for_ms} ms"),
            Self::Fill { who, for_ms } => write!(f, "fill the disk of {who} for {for_ms} ms"),
            Self::Jump { who, to } => write!(f, "the clock of {who} jumps to {to:+} s"),
            Self::Push => write!(f, "push a commit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let style = Style { span: 15_000, patient: false };
        assert_eq!(Plan::of(7, style), Plan::of(7, style));
        assert_ne!(Plan::of(7, style).steps, Plan::of(8, style).steps);
        let patient = Plan::of(7, Style { patient: true, ..style });
        assert_eq!(patient.steps.len(), Plan::of(7, style).steps.len() + 1);
    }
}

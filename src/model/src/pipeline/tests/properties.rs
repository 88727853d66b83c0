//! Whatever the facts, the time and the people: what holds for every run.

use nixfleet_protocol::api::{Decision, Offline, Waves};
use proptest::prelude::*;

use super::*;

const COMMITS: [&str; 3] = ["aaaaaaa", "bbbbbbb", "ccccccc"];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const OVER: [CommandState; 8] = [
    CommandState::Success,
    CommandState::Success,
    CommandState::Success,
    CommandState::Error,
    CommandState::Blocked,
    CommandState::Partial,
    CommandState::Killed,
    CommandState::Orphaned,
];
const OPEN: [CommandState; 5] = [
    CommandState::Pending,
    CommandState::Executing,
    CommandState::RunningWarning,
    CommandState::TimeoutPending,
    CommandState::AwaitingReconnect,
];

/// Something that happens between two looks.
#[derive(Clone, Debug)]
enum Happens {
    Host(usize, Option<HostState>, bool, bool),
    Says(usize, u8),
    /// What is checked out on a host.
    Checks(usize, usize),
    /// The head of the branch.
    Head(usize),
    Passes(u64),
    Decides(usize),
    Cancels,
    Restarts,
}

fn happens() -> impl Strategy<Value = Happens> {
    let state = prop_oneof![
        6 => Just(Some(HostState::Online)),
        2 => Just(Some(HostState::Stale)),
        2 => Just(Some(HostState::Offline)),
        1 => Just(None),
    ];
    let rarely = || proptest::bool::weighted(0.1);
    prop_oneof![
        6 => (0..NAMES.len(), state, rarely(), rarely()).prop_map(|(at, state, busy, red)| Happens::Host(at, state, busy, red)),
        20 => (0..8_usize, any::<u8>()).prop_map(|(at, how)| Happens::Says(at, how)),
        6 => (0..NAMES.len(), 0..3_usize).prop_map(|(at, commit)| Happens::Checks(at, commit)),
        1 => (0..3_usize).prop_map(Happens::Head),
        8 => (0..400_u64).prop_map(Happens::Passes),
        4 => (0..4_usize).prop_map(Happens::Decides),
        1 => Just(Happens::Restarts),
        1 => proptest::bool::weighted(0.1).prop_map(|it| if it { Happens::Cancels } else { Happens::Passes(1) }),
    ]
}

fn options() -> impl Strategy<Value = RunOptions> {
    let waves = prop_oneof![
        Just(None),
        (1..3_u32).prop_map(|count| Some(Waves::Count(count))),
        proptest::collection::vec(1..3_u32, 1..3).prop_map(|sizes| Some(Waves::Sizes(sizes))),
    ];
    let most = || proptest::option::of(0..3_u32);
    (any::<bool>(), waves, 0..700_u64, most(), proptest::option::of(1..4_u32), any::<bool>(), 0..200_u64).prop_map(
        |(first, waves, soak, max_failures, parallel, skip, wait)| RunOptions {
            canary: first.then(|| canary(&["a"])),
            soak_s: if first || waves.is_some() { soak.saturating_sub(200) } else { 0 },
            waves,
            max_failures,
            parallel,
            wait_s: Some(wait),
            offline: if skip { Offline::Skip } else { Offline::Wait },
            ..RunOptions::default()
        },
    )
}

/// One look, with everything that holds for each.
fn look(world: &mut World) {
    let before = world.run.clone();
    let planned = plan(&before, &world.facts, world.now);
    let again = plan(&planned.run, &world.facts, world.now);
    assert_eq!((&again.run, &again.begin), (&planned.run, &planned.begin), "a plan made twice is the same");
    assert_eq!((&again.waits, again.wake), (&planned.waits, planned.wake));
    assert!(again.events.is_empty(), "what was told is not told again");
    for (host, was) in &before.hosts {
        let now = &planned.run.hosts[host];
        for ((stage, was), is) in (0..).zip(&was.cells).zip(&now.cells) {
            if now.tried.iter().any(|tried| tried.stage == stage && tried.command == was.command) {
                assert_eq!(before.record.stages[stage as usize].op, Op::Test, "tests alone run again, after the soak");
                continue;
            }
            assert!(!was.is_over() || was == is, "a cell left a final state: {was:?} {is:?}");
            assert!(was.command.is_none() || was.command == is.command, "a command was changed for another");
        }
    }
    let (is, was) = (&planned.run.record, &before.record);
    if is.group > was.group && is.options.soak_s > 0 {
        for group in was.group..is.group {
            let own = is.own_stages();
            let someone = planned.run.hosts.values().any(|it| it.group == group && it.came_through(own));
            let soaked = was.group == group && was.soak.is_some_and(|soak| soak.until <= world.now);
            assert!(!someone || soaked, "the next group began before the soak was over");
        }
    }
    let under_way = planned.run.under_way().filter(|(host, _, _)| host.is_some()).count();
    let begins = planned.begin.iter().filter(|begin| begin.host.is_some()).count();
    if let Some(most) = is.options.parallel.filter(|_| begins > 0) {
        assert!(under_way + begins <= most as usize, "{under_way} + {begins} at once, {most} are the most");
    }
    for begin in &planned.begin {
        assert!(is.halted.is_none() && is.cancelled.is_none() && !is.is_over(), "nothing begins now");
        let Some(host) = &begin.host else { continue };
        let host = &planned.run.hosts[host];
        assert!(host.cells[begin.stage].is_ahead(), "it was begun before");
        assert!(host.group <= is.group, "its group has not come");
        let pulled = is.pull_stage().is_some_and(|pull| (pull + 1..is.own_stages()).contains(&begin.stage));
        let checkout = world.facts.hosts.get(&host.host).and_then(|fact| fact.checkout.as_ref());
        if let Some(checkout) =
            checkout.filter(|_| pulled && is.groups > 1 && host.group == is.group && is.soak.is_none())
        {
            assert!(is.heads.iter().any(|head| head.is(checkout)), "it gets what nobody has tried: {checkout}");
        }
        if begin.stage < is.own_stages() {
            assert!(host.cells[..begin.stage].iter().all(Cell::passed), "a host that failed got a later stage");
            let others = planned.run.hosts.values().filter(|other| other.group == is.group);
            let behind = others.flat_map(|other| &other.cells[..begin.stage]).filter(|cell| !cell.is_over()).count();
            assert_eq!(behind, 0, "a stage began before the one before it was over");
        } else {
            assert!(is.rolls_back && host.switched);
        }
    }
    assert!(is.is_over() == is.state.is_final());
    if !is.is_over() && is.halted.is_none() {
        assert!(planned.wake.is_some() || !planned.begin.is_empty(), "it sleeps for ever: {planned:?}");
    }
    assert!(planned.wake.is_none_or(|wake| wake > world.now), "it wakes at once, again and again");
    world.look();
    let view = world.run.view(planned.waits);
    assert_eq!(view.halted.is_some(), view.state == RunState::Halted);
}

fn happen(world: &mut World, what: &Happens) {
    match *what {
        Happens::Host(at, state, busy, red) => {
            let checkout = world.facts.hosts.get(&host(NAMES[at])).and_then(|fact| fact.checkout.clone());
            let fact = |state| HostFact { state, busy, red, checkout, ..online() };
            match state {
                Some(state) => world.facts.hosts.insert(host(NAMES[at]), fact(state)),
                None => world.facts.hosts.remove(&host(NAMES[at])),
            };
        }
        Happens::Says(at, how) => {
            let open: Vec<CommandId> = world.run.under_way().filter_map(|(_, _, cell)| cell.command).collect();
            let Some(id) = open.get(at % open.len().max(1)) else { return };
            let pick = usize::from(how) / 4;
            let said = match how % 4 {
                0 => Said::Is { state: OPEN[pick % OPEN.len()], code: None, message: None, switched: false },
                1 if pick % 2 == 0 => Said::NotNow("busy".to_owned()),
                1 if pick % 7 == 0 => Said::Never("gone".to_owned()),
                _ => Said::Is {
                    state: OVER[pick % OVER.len()],
                    code: Some("x".to_owned()).filter(|_| how % 3 == 0),
                    message: None,
                    switched: pick % 5 == 0,
                },
            };
            // What was heard of a command is never unsaid.
            if !matches!(world.facts.said.get(id), Some(Said::Is { .. })) || matches!(said, Said::Is { .. }) {
                world.facts.said.insert(*id, said);
            }
        }
        Happens::Checks(at, commit) => {
            if let Some(fact) = world.facts.hosts.get_mut(&host(NAMES[at])) {
                fact.checkout = COMMITS[commit].parse().ok();
            }
        }
        Happens::Head(commit) => world.facts.head = COMMITS[commit].parse().ok(),
        Happens::Passes(seconds) => world.now = world.now.plus(Duration::from_secs(seconds)),
        Happens::Decides(at) => {
            let now = world.now;
            if let Some(decision) = world.run.decisions().get(at).copied() {
                world.run.decide(decision, "user", now).unwrap();
            }
        }
        Happens::Cancels => {
            let now = world.now;
            if !world.run.record.is_over() {
                world.run.cancel("user", now).unwrap();
            }
        }
        Happens::Restarts => world.facts.daemon_started = world.now,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_run_ends_and_keeps_its_rules(
        options in options(),
        pipeline in prop_oneof![Just("do-all"), Just("merge-deploy"), Just("force-update")],
        story in proptest::collection::vec(happens(), 0..120),
    ) {
        let mut world = World::new(pipeline, &NAMES, options);
        for what in &story {
            happen(&mut world, what);
            look(&mut world);
        }
        // Nothing happens any more but that the time passes, and people go on where they are asked.
        for _ in 0..200 {
            if world.run.record.is_over() {
                break;
            }
            let now = world.now;
            if world.run.record.halted.is_some() {
                world.run.decide(Decision::Continue, "user", now).unwrap();
            }
            world.now = now.plus(Duration::from_hours(8));
            look(&mut world);
        }
        prop_assert!(world.run.record.is_over(), "it never ends: {:?}", world.run.record);
        let over = world.run.clone();
        look(&mut world);
        prop_assert_eq!(&over, &world.run, "what is over never changes");
        prop_assert!(over.hosts.values().all(|host| host.cells.iter().all(Cell::is_over)));
    }
}

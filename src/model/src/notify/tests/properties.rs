//! No flood, no loss: whatever happens and whatever the receivers do.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Happens {
    Fails,
    Host(u8, bool),
    Passes(u16),
    Answers(bool),
    Restarts,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => Just(Happens::Fails),
        3 => (0_u8..4, any::<bool>()).prop_map(|(host, online)| Happens::Host(host, online)),
        4 => (1_u16..90).prop_map(Happens::Passes),
        1 => (600_u16..40_000).prop_map(Happens::Passes),
        4 => prop::bool::weighted(0.7).prop_map(Happens::Answers),
        1 => Just(Happens::Restarts),
    ]
}

/// Two channels, one of them with quiet hours, and what is on disk.
struct World {
    desk: Desk,
    stored: BTreeMap<u64, Waiting>,
    fleet: FleetState,
    events: u64,
    now: i64,
    on_the_way: Vec<(usize, Letter)>,
    /// Letters that were taken: channel, when, its id, kinds, how much it told.
    taken: Vec<(usize, i64, String, BTreeSet<Kind>, u64)>,
    noticed: [u64; 2],
}

fn channels() -> Vec<Channel> {
    vec![channel("a"), Channel { quiet: quiet(), ..channel("b") }]
}

impl World {
    fn follow(&mut self, step: Step) {
        for (number, waiting) in step.put {
            self.stored.insert(number, waiting);
        }
        for number in step.remove {
            self.stored.remove(&number);
        }
        let quiet = quiet().unwrap().covers(at(self.now));
        assert!(!quiet || step.send.iter().all(|(channel, _)| *channel == 0), "in quiet hours");
        self.on_the_way.extend(step.send);
    }

    fn look(&mut self, events: &[Arc<Event>]) {
        let before = self.pending();
        let taken = self.told();
        let step = look(&mut self.desk, &self.fleet, events, self.now);
        self.follow(step);
        let after = self.pending();
        for channel in 0..2 {
            self.noticed[channel] += after[channel] - before[channel];
        }
        assert_eq!(taken, self.told());
    }

    fn pending(&self) -> [u64; 2] {
        [0, 1].map(|channel| self.desk.view(channel, at(self.now)).unwrap().waiting)
    }

    fn told(&self) -> [u64; 2] {
        [0, 1].map(|channel| self.taken.iter().filter(|it| it.0 == channel).map(|it| it.4).sum())
    }

    fn pass(&mut self, seconds: u16) {
        let end = self.now + i64::from(seconds);
        while let Some(wake) = self.desk.next_wake(at(self.now)).filter(|wake| *wake <= at(end)) {
            let before = self.now;
            self.now = self.now.max((wake.millis() - at(0).millis() + 999) / 1000);
            let step = self.desk.step(&Input::Timer, at(self.now));
            let idle = step.send.is_empty();
            self.follow(step);
            if idle && self.now == before {
                break;
            }
        }
        self.now = self.now.max(end);
    }

    fn answer(&mut self, well: bool) {
        if self.on_the_way.is_empty() {
            return;
        }
        let (channel, letter) = self.on_the_way.remove(0);
        let kinds = letter.notices.iter().map(|notice| notice.kind).collect();
        if well {
            self.taken.push((channel, self.now, letter.id.clone(), kinds, letter.count));
        }
        let outcome = if well {
            Ok(Taken::default())
        } else {
            Err(Failure { why: "no".into(), retry_after: None, refused: false })
        };
        let step = self.desk.step(&Input::Sent { channel, id: letter.id, outcome }, at(self.now));
        self.follow(step);
    }
}

proptest! {
    #[test]
    fn no_flood_and_nothing_is_lost(story in prop::collection::vec(happens(), 1..120)) {
        let mut world = World {
            desk: desk(channels()),
            stored: BTreeMap::new(),
            fleet: fleet(),
            events: 0,
            now: 0,
            on_the_way: Vec::new(),
            taken: Vec::new(),
            noticed: [0, 0],
        };
        world.look(&[]);
        for next in story {
            match next {
                Happens::Fails => {
                    world.events += 1;
                    let event = failed(world.events, Some("h0"), "ERROR");
                    world.look(&[event]);
                }
                Happens::Host(number, online) => {
                    let state = if online { HostState::Online } else { HostState::Offline };
                    host(&mut world.fleet, &format!("h{number}"), state, &[]);
                    world.look(&[]);
                }
                Happens::Passes(seconds) => world.pass(seconds),
                Happens::Answers(well) => world.answer(well),
                Happens::Restarts => {
                    // What was on its way never arrived.
                    world.on_the_way.clear();
                    let memory = Some(world.desk.memory().clone());
                    world.desk = Desk::new(channels(), None, memory, world.stored.clone(), "other".into());
                    let step = world.desk.step(&Input::Timer, at(world.now));
                    world.follow(step);
                }
            }
        }
        // All receivers are there from now on.
        for _ in 0..400 {
            while !world.on_the_way.is_empty() {
                world.answer(true);
            }
            world.pass(600);
        }
        prop_assert_eq!(world.pending(), [0, 0], "nothing waits for ever");
        prop_assert!(world.stored.is_empty());
        prop_assert_eq!(world.told(), world.noticed, "everything was told or counted, once");
        let ids: BTreeSet<_> = world.taken.iter().map(|it| &it.2).collect();
        prop_assert_eq!(ids.len(), world.taken.len(), "each letter was taken once");
        for kind in Kind::ALL {
            for channel in 0..2 {
                let times: Vec<i64> =
                    world.taken.iter().filter(|it| it.0 == channel && it.3.contains(&kind)).map(|it| it.1).collect();
                prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{kind}: {times:?}");
            }
        }
    }
}

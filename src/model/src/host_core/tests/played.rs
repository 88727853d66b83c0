//! The whole core against a played agent, over a wire that breaks and a daemon that dies at any point.
//!
//! The agent is the smallest machine that keeps its promises: it keeps ids for good, runs one command at a time,
//! and tells a result until that is acknowledged. What is checked in the end is what the product promises: each id
//! ran at most once, each true result was taken once, the slot is free, nothing is left open.

use std::collections::VecDeque;

use nixfleet_protocol::agent::{Accepted, CommandRejected, KillCommand};

use super::*;

/// How a command stands at the played agent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    Runs,
    Ended(i32),
    /// The result was acknowledged: the id alone is kept.
    Acknowledged,
}

#[derive(Debug, Default)]
struct Agent {
    protocol: u32,
    /// Numbers of its state directory, its process and the boot.
    journal: u8,
    instance: u8,
    commands: BTreeMap<CommandId, (Standing, String)>,
    ran: BTreeMap<CommandId, u32>,
    /// An old agent's one command, by its word.
    runs: Option<String>,
    /// Messages on their way to the dashboard.
    says: VecDeque<AgentMessage>,
}

impl Agent {
    fn is_old(&self) -> bool {
        self.protocol < 3
    }

    fn register(&self) -> Box<Register> {
        let uuid = |kind: u8, number: u8| format!("0190b6a8-0000-7000-8000-0000000{kind:02x}0{number:02x}");
        let mut register = register(self.protocol, "aaaaaaa");
        if !self.is_old() {
            register.journal = uuid(1, self.journal).parse().ok();
            register.instance = uuid(2, self.instance).parse().ok();
            register.boot_id = Some(nixfleet_protocol::BootId(uuid(3, self.instance)));
            let which = |want: fn(Standing) -> bool| {
                self.commands.iter().filter(|(_, (standing, _))| want(*standing)).map(|(id, _)| *id).collect()
            };
            register.running = which(|standing| standing == Standing::Runs);
            register.results = which(|standing| matches!(standing, Standing::Ended(_)));
        }
        register
    }

    fn beat(&self) -> AgentMessage {
        let running = self.register().running;
        let pending = running.first().map(|id| self.commands[id].1.clone()).or_else(|| self.runs.clone());
        AgentMessage::Heartbeat(Box::new(Heartbeat {
            running: (!self.is_old()).then_some(running),
            pending_command: pending,
            ..Heartbeat::default()
        }))
    }

    fn result(&self, id: CommandId) -> Option<AgentMessage> {
        let (Standing::Ended(code), word) = self.commands.get(&id)? else { return None };
        let status = Status {
            command: word.clone(),
            exit_code: Some(*code),
            command_id: Some(id),
            output_end: Some(0),
            ..Status::default()
        };
        Some(AgentMessage::Status(Box::new(status)))
    }

    /// A frame of the dashboard.
    fn hears(&mut self, message: &DashboardMessage) {
        match message {
            DashboardMessage::Registered(_) => {
                self.says.push_back(self.beat());
                let results: Vec<_> = self.commands.keys().filter_map(|id| self.result(*id)).collect();
                self.says.extend(results);
            }
            DashboardMessage::Command(command) => self.is_to_run(&command.command, command.command_id),
            DashboardMessage::KillCommand(KillCommand { command_id: Some(id), .. }) => {
                if matches!(self.commands.get(id), Some((Standing::Runs, _))) {
                    self.ends(*id, 130);
                }
            }
            DashboardMessage::KillCommand(_) => {
                // An old agent kills itself with it.
                self.runs = None;
            }
            DashboardMessage::StatusAck(ack) => {
                if let Some((standing, _)) = self.commands.get_mut(&ack.command_id) {
                    assert_ne!(*standing, Standing::Runs, "acknowledged before it ended");
                    *standing = Standing::Acknowledged;
                }
            }
            DashboardMessage::OutputAck(_) => {}
        }
    }

    fn is_to_run(&mut self, word: &str, id: Option<CommandId>) {
        let Some(id) = id else {
            assert!(self.is_old());
            self.runs = Some(word.to_owned());
            return;
        };
        let busy =
            word != "journal" && self.commands.values().any(|(at, word)| *at == Standing::Runs && word != "journal");
        match self.commands.get(&id) {
            Some((Standing::Runs, _)) => self.says.push_back(AgentMessage::Accepted(Accepted { command_id: id })),
            Some((Standing::Ended(_), _)) => self.says.extend(self.result(id)),
            Some((Standing::Acknowledged, _)) => self.reject(id, "forgotten"),
            None if busy => self.reject(id, "busy"),
            None => {
                *self.ran.entry(id).or_default() += 1;
                self.commands.insert(id, (Standing::Runs, word.to_owned()));
                self.says.push_back(AgentMessage::Accepted(Accepted { command_id: id }));
            }
        }
    }

    fn reject(&mut self, id: CommandId, reason: &str) {
        let rejected = CommandRejected { reason: reason.into(), command_id: Some(id), ..CommandRejected::default() };
        self.says.push_back(AgentMessage::CommandRejected(rejected));
    }

    fn ends(&mut self, id: CommandId, code: i32) {
        if let Some((standing, _)) = self.commands.get_mut(&id) {
            *standing = Standing::Ended(code);
        }
        self.says.extend(self.result(id));
        self.says.push_back(self.beat());
    }

    /// Whatever runs ends; a journal only where it is not left to its readers.
    fn end_all(&mut self, code: i32, journals: bool) {
        for id in self.register().running {
            if journals || self.commands[&id].1 != "journal" {
                self.ends(id, code);
            }
        }
        if let Some(word) = self.runs.take() {
            let silent = matches!(word.as_str(), "restart" | "reboot");
            if !silent {
                let status = Status { command: word, exit_code: Some(code), ..Status::default() };
                self.says.push_back(AgentMessage::Status(Box::new(status)));
            }
            self.says.push_back(self.beat());
        }
    }
}

/// At which point the daemon dies.
#[derive(Clone, Copy, Debug)]
enum Crash {
    BeforeTheCommit,
    BehindTheCommit,
}

struct World {
    core: Core,
    agent: Agent,
    link: Option<u64>,
    links: u64,
    now: i64,
    /// What is on disk, as bytes.
    disk: (Vec<u8>, BTreeMap<CommandId, Vec<u8>>),
    crash: Option<Crash>,
    /// Frames with a command, by the command that was open then.
    sent: BTreeMap<CommandId, u32>,
    /// How often a result was taken.
    taken: BTreeMap<CommandId, u32>,
}

impl World {
    fn new(protocol: u32) -> Self {
        let agent = Agent { protocol, ..Agent::default() };
        let record = HostRecord::new(host(), at(0));
        let disk = (serde_json::to_vec(&record).unwrap(), BTreeMap::new());
        let (sent, taken) = (BTreeMap::new(), BTreeMap::new());
        Self { core: core(), agent, link: None, links: 0, now: 0, disk, crash: None, sent, taken }
    }

    fn stored(&self) -> Vec<Command> {
        self.disk.1.values().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect()
    }

    fn step(&mut self, input: Input) {
        let step = self.core.step(input, at(self.now));
        self.follow(step);
    }

    fn follow(&mut self, step: Step) {
        let crash = self.crash.take();
        if matches!(crash, Some(Crash::BeforeTheCommit)) {
            return self.daemon_dies();
        }
        for command in step.writes.commands {
            let before: Option<Command> =
                self.disk.1.get(&command.id).map(|bytes| serde_json::from_slice(bytes).unwrap());
            if let Some(before) = &before
                && before.state.is_final()
            {
                assert_eq!(before, &command, "what is over on disk stays as it is");
            }
            if command.exit_code.is_some() && before.is_none_or(|before| before.exit_code.is_none()) {
                *self.taken.entry(command.id).or_default() += 1;
            }
            self.disk.1.insert(command.id, serde_json::to_vec(&command).unwrap());
        }
        if let Some(host) = step.writes.host {
            self.disk.0 = serde_json::to_vec(&host).unwrap();
        }
        if matches!(crash, Some(Crash::BehindTheCommit)) {
            return self.daemon_dies();
        }
        for effect in step.then {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Registered { link, .. } if self.link == Some(link) => {
                self.agent.hears(&DashboardMessage::Registered(nixfleet_protocol::agent::Registered::default()));
            }
            Effect::Send { link, message } | Effect::Order { link, message, .. } if self.link == Some(link) => {
                if let DashboardMessage::Command(command) = &message {
                    let id = command.command_id.or(self.core.open().map(|open| open.id)).unwrap();
                    let sent = self.sent.entry(id).or_default();
                    *sent += 1;
                    assert!(!self.agent.is_old() || *sent == 1, "nothing is sent twice to an old agent");
                }
                self.agent.hears(&message);
            }
            Effect::CloseLink { link, .. } if self.link == Some(link) => self.cut(),
            Effect::FlushLog(command) => self.step(Input::LogFlushed { command, bytes: 0 }),
            Effect::Find(id) => {
                let command = self.stored().into_iter().find(|command| command.id == id).map(Box::new);
                self.step(Input::Found { id, command });
            }
            Effect::AskRemote { number, .. } => {
                self.step(Input::Remote(remote(HEAD, self.now)));
                self.step(Input::RemoteAsked { number });
            }
            _ => {}
        }
    }

    fn daemon_dies(&mut self) {
        self.link = None;
        self.agent.says.clear();
        let record = serde_json::from_slice(&self.disk.0).unwrap();
        let (core, step) = Core::revive(settings(), record, self.stored(), remote(HEAD, self.now), at(self.now));
        self.core = core;
        self.follow(step);
    }

    fn connect(&mut self) {
        self.links += 1;
        self.link = Some(self.links);
        self.agent.says.clear();
        let register = self.agent.register();
        self.step(Input::LinkUp { link: self.links, register });
    }

    fn cut(&mut self) {
        if let Some(link) = self.link.take() {
            self.agent.says.clear();
            self.step(Input::LinkDown { link });
        }
    }

    /// One message of the agent arrives.
    fn deliver(&mut self) -> bool {
        let Some(link) = self.link else { return false };
        let Some(message) = self.agent.says.pop_front() else { return false };
        self.step(Input::Heard { link, message });
        true
    }

    fn act(&mut self, action: Act, number: usize) {
        let ids: Vec<_> = self.core.unfinished().map(|command| command.id).collect();
        if let Some(id) = ids.get(number % ids.len().max(1)) {
            self.step(Input::Act { ask: 0, command: *id, action, actor: "user".into() });
        }
    }

    fn submit(&mut self, op: Op, number: u8) {
        let request = Submit { force: true, totp: TotpProof::Valid, ..wish(op) };
        self.step(Input::Submit { ask: 0, id: id(number), request });
    }

    /// Lets the clock run for a while: every timer that comes is heard.
    fn wait(&mut self, seconds: i64) {
        let end = self.now + seconds;
        for _ in 0..200 {
            let Some(wake) = self.core.next_wake(at(self.now)).filter(|wake| *wake <= at(end)) else { break };
            self.now = self.now.max((wake.millis() - at(0).millis() + 999) / 1000);
            self.step(Input::Timer);
        }
        self.now = self.now.max(end);
    }

    /// The agent stays, what runs ends, the readers leave: everything comes to its end.
    fn comes_to_rest(&mut self) {
        for _ in 0..8 {
            self.connect();
            while self.deliver() {}
            for id in self.core.unfinished().filter(|it| it.is_read()).map(|it| it.id).collect::<Vec<_>>() {
                self.step(Input::ReaderLeft { command: id });
            }
            self.agent.end_all(0, false);
            while self.deliver() {}
            self.agent.instance += 1;
            self.wait(120);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Submit(Op),
    Act(Act, usize),
    Connect,
    Cut,
    Deliver(usize),
    Ends(i32),
    AgentRestarts,
    DiskIsLost,
    DaemonDies,
    DiesAtTheNext(Crash),
    ReaderLeaves,
    Wait(i64),
}

fn events() -> impl Strategy<Value = Event> {
    let ops = vec![Op::Pull, Op::Switch, Op::Test, Op::Restart, Op::Reboot, Op::Gc, Op::Journal, Op::Rollback];
    let act = prop_oneof![
        3 => Just(Act::Stop),
        1 => Just(Act::Extend { minutes: 5 }),
        1 => Just(Act::Ignore),
        1 => Just(Act::GiveUp),
    ];
    prop_oneof![
        6 => prop::sample::select(ops).prop_map(Event::Submit),
        2 => (act, 0_usize..3).prop_map(|(act, which)| Event::Act(act, which)),
        5 => Just(Event::Connect),
        2 => Just(Event::Cut),
        6 => (1_usize..6).prop_map(Event::Deliver),
        4 => prop_oneof![Just(0), Just(1)].prop_map(Event::Ends),
        1 => Just(Event::AgentRestarts),
        1 => Just(Event::DiskIsLost),
        1 => Just(Event::DaemonDies),
        2 => prop_oneof![Just(Crash::BeforeTheCommit), Just(Crash::BehindTheCommit)].prop_map(Event::DiesAtTheNext),
        1 => Just(Event::ReaderLeaves),
        2 => (1_i64..4000).prop_map(Event::Wait),
    ]
}

fn happens(world: &mut World, event: Event, number: u8) {
    match event {
        Event::Submit(op) => world.submit(op, number),
        Event::Act(act, which) => world.act(act, which),
        Event::Connect => world.connect(),
        Event::Cut => world.cut(),
        Event::Deliver(most) => {
            for _ in 0..most {
                world.deliver();
            }
        }
        Event::Ends(code) => world.agent.end_all(code, true),
        Event::AgentRestarts => {
            world.cut();
            world.agent.instance += 1;
            world.agent.runs = None;
        }
        Event::DiskIsLost => {
            world.cut();
            world.agent.journal += 1;
            world.agent.instance += 1;
            world.agent.commands.clear();
            world.agent.runs = None;
        }
        Event::DaemonDies => world.daemon_dies(),
        Event::DiesAtTheNext(crash) => world.crash = Some(crash),
        Event::ReaderLeaves => {
            let read = world.core.unfinished().find(|command| command.is_read()).map(|command| command.id);
            if let Some(command) = read {
                world.step(Input::ReaderLeft { command });
            }
        }
        Event::Wait(seconds) => world.wait(seconds),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_id_runs_once_and_each_true_result_is_taken_once(
        protocol in 2_u32..4,
        story in prop::collection::vec(events(), 1..60),
    ) {
        let mut world = World::new(protocol);
        world.connect();
        let mut results: BTreeMap<CommandId, i32> = BTreeMap::new();
        for (number, event) in (1_u8..).zip(story) {
            happens(&mut world, event, number);
            let ended = world.agent.commands.iter().filter_map(|(id, (standing, _))| match standing {
                Standing::Ended(code) => Some((*id, *code)),
                Standing::Runs | Standing::Acknowledged => None,
            });
            results.extend(ended);
        }
        world.crash = None;
        world.comes_to_rest();

        prop_assert!(world.core.open().is_none(), "the slot is free: {:?}", world.core.open());
        prop_assert_eq!(world.core.unfinished().count(), 0, "nothing is left open");
        prop_assert_eq!(world.core.record().open, None);
        prop_assert!(world.core.record().facts.running.is_empty(), "nothing keeps the host busy");
        for command in world.stored() {
            prop_assert!(command.state.is_final(), "left open on disk: {:?}", command);
            prop_assert!(world.taken.get(&command.id).is_none_or(|taken| *taken == 1), "{:?}", command);
            // The word of the agent is what is on disk, unless nobody waited for it.
            if let (Some(told), Some(code)) = (results.get(&command.id), command.exit_code) {
                let stopped = code == 130;
                prop_assert!(*told == code || stopped, "{told} became {code}: {:?}", command);
            }
        }
        prop_assert!(world.agent.ran.values().all(|times| *times == 1), "an id ran twice: {:?}", world.agent.ran);
        prop_assert!(
            world.agent.commands.values().all(|(standing, _)| *standing == Standing::Acknowledged),
            "a result that nobody took: {:?}", world.agent.commands
        );
    }

    #[test]
    fn without_the_agent_the_clock_alone_ends_everything(
        protocol in 2_u32..4,
        story in prop::collection::vec(events(), 1..40),
    ) {
        let mut world = World::new(protocol);
        world.connect();
        for (number, event) in (1_u8..).zip(story) {
            happens(&mut world, event, number);
        }
        world.crash = None;
        world.cut();
        world.wait(9 * 24 * 3600);
        prop_assert_eq!(world.core.unfinished().count(), 0, "{:?}", world.core.unfinished().collect::<Vec<_>>());
    }
}

#[test]
fn a_journal_runs_beside_a_command_and_ends_with_its_reader() {
    let mut world = World::new(3);
    world.connect();
    while world.deliver() {}
    world.submit(Op::Test, 1);
    world.submit(Op::Journal, 2);
    world.submit(Op::Journal, 3);
    while world.deliver() {}
    assert_eq!(world.agent.register().running.len(), 3, "all three run");
    world.step(Input::ReaderLeft { command: id(2) });
    while world.deliver() {}
    let ended = world.stored().into_iter().find(|command| command.id == id(2)).unwrap();
    assert_eq!((ended.state, ended.exit_code), (CommandState::Killed, Some(130)));
    assert!(ended.message.unwrap().contains("reader left"));
    world.agent.ends(id(3), 0);
    while world.deliver() {}
    assert_eq!(world.stored().into_iter().find(|it| it.id == id(3)).unwrap().state, CommandState::Success);
    assert_eq!(world.core.open().map(|open| open.id), Some(id(1)), "the command in the slot goes on");
}

#[test]
fn a_journal_that_outlived_the_daemon_is_told_to_end_and_keeps_nobody_busy() {
    let mut world = World::new(3);
    world.connect();
    world.submit(Op::Journal, 1);
    world.daemon_dies();
    assert_eq!(world.stored()[0].state, CommandState::Killed);
    world.connect();
    while world.deliver() {}
    assert_eq!(world.agent.commands[&id(1)].0, Standing::Acknowledged, "stopped when it was found");
    world.submit(Op::Test, 2);
    assert_eq!(world.core.open().map(|open| open.id), Some(id(2)));
}

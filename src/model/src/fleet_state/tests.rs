use nixfleet_protocol::api::{Category, CommandState, Level, RunOptions, RunState};
use nixfleet_protocol::{EventId, Op, Time};
use proptest::prelude::*;

use super::*;
use crate::compartments::tests::fixture::{Scene, Step, command, id};
use crate::view::{command_view, host_view, remote_view};

fn server(version: &str) -> Server {
    Server { version: version.to_owned(), started_at: Time::default(), store_error: None, shared_agent_token: false }
}

fn empty() -> FleetState {
    FleetState::new(Remote::default(), server("1.0.0"))
}

fn host(name: &str, steps: &[Step]) -> StateChange {
    let mut scene = Scene::current().after(steps);
    scene.host.id = name.parse().unwrap();
    StateChange::Host(Arc::new(host_view(&scene.standing(), None)))
}

fn a_command(number: u32, state: CommandState) -> StateChange {
    StateChange::Command(Arc::new(command_view(&command(number, Op::Test, state, Time::default()))))
}

fn run_id(number: u32) -> RunId {
    format!("01900000-0000-7000-9000-{number:012x}").parse().unwrap()
}

fn a_run(number: u32, finished: bool) -> StateChange {
    StateChange::Run(Arc::new(Run {
        id: run_id(number),
        pipeline: "do-all".to_owned(),
        label: "Do all".to_owned(),
        actor: "user".to_owned(),
        state: if finished { RunState::Complete } else { RunState::Running },
        message: String::new(),
        stage: 0,
        ops: vec![Op::Test],
        hosts: BTreeMap::new(),
        commands: BTreeMap::new(),
        notes: BTreeMap::new(),
        groups: Vec::new(),
        group: 0,
        waits: Vec::new(),
        halted: None,
        options: RunOptions::default(),
        created_at: Time::default(),
        finished_at: finished.then(Time::default),
    }))
}

fn an_event(number: u64) -> StateChange {
    StateChange::Event(Arc::new(Event {
        id: EventId(number),
        time: Time::default(),
        category: Category::Audit,
        level: Level::Info,
        actor: "user".to_owned(),
        host: None,
        action: "login".to_owned(),
        message: "Somebody logged in.".to_owned(),
        details: serde_json::Value::Null,
    }))
}

fn a_remote(steps: &[Step]) -> StateChange {
    let scene = Scene::current().after(steps);
    StateChange::Remote(Arc::new(remote_view(&scene.remote, scene.now)))
}

fn removed(name: &str) -> StateChange {
    StateChange::HostRemoved(name.parse().unwrap())
}

#[test]
fn a_change_is_named_by_what_was_there_before() {
    let mut state = empty();
    for (what, change, expected) in [
        ("a new host", host("a", &[]), Some("host_added")),
        ("the same again", host("a", &[]), None),
        ("another light", host("a", &[Step::Push]), Some("host_updated")),
        ("another host", host("b", &[]), Some("host_added")),
        ("gone", removed("a"), Some("host_removed")),
        ("gone already", removed("a"), None),
        ("back", host("a", &[]), Some("host_added")),
        ("a command", a_command(1, CommandState::Pending), Some("command_started")),
        ("the same", a_command(1, CommandState::Pending), None),
        ("sent", a_command(1, CommandState::Executing), Some("command_progress")),
        ("over", a_command(1, CommandState::Success), Some("command_finished")),
        ("over, again", a_command(1, CommandState::Success), None),
        ("refused at once", a_command(2, CommandState::Blocked), Some("command_finished")),
        ("a run", a_run(1, false), Some("run_started")),
        ("the same", a_run(1, false), None),
        ("over", a_run(1, true), Some("run_finished")),
        ("over, again", a_run(1, true), None),
        ("a remote", a_remote(&[]), Some("remote_updated")),
        ("the same", a_remote(&[]), None),
        ("a push", a_remote(&[Step::Push]), Some("remote_updated")),
        ("an event", an_event(1), Some("event")),
        ("the same", an_event(1), None),
        ("a later one", an_event(3), Some("event")),
        ("one that was overtaken", an_event(2), None),
        ("the daemon as it was", StateChange::Server(Arc::new(server("1.0.0"))), None),
        ("another version", StateChange::Server(Arc::new(server("1.1.0"))), Some("server_updated")),
    ] {
        assert_eq!(state.apply(change).map(|change| change.kind()), expected, "{what}");
    }
}

#[test]
fn a_run_that_goes_on_is_updated() {
    let mut state = empty();
    state.apply(a_run(1, false));
    let StateChange::Run(run) = a_run(1, false) else { unreachable!() };
    let further = Arc::new(Run { stage: 1, ..(*run).clone() });
    assert_eq!(state.apply(StateChange::Run(Arc::clone(&further))), Some(Change::RunUpdated(further)));
}

#[test]
fn a_host_whose_refusals_changed_is_updated_although_its_shape_did_not() {
    let mut state = empty();
    let StateChange::Host(view) = host("a", &[]) else { unreachable!() };
    state.apply(StateChange::Host(Arc::clone(&view)));
    let fewer = HostView { host: Arc::clone(&view.host), refused: Arc::default(), system: view.system };
    assert!(matches!(state.apply(StateChange::Host(Arc::new(fewer))), Some(Change::HostUpdated(_))));
}

#[test]
fn lists_of_what_is_over_are_bounded_and_what_is_open_stays() {
    let mut state = empty();
    state.apply(a_command(0, CommandState::Executing));
    state.apply(a_run(0, false));
    for number in 1..=300 {
        state.apply(a_command(number, CommandState::Success));
        state.apply(a_run(number, true));
        state.apply(an_event(number.into()));
    }
    assert_eq!(state.commands.len(), RECENT_COMMANDS + 1);
    assert_eq!(state.runs.len(), RECENT_RUNS + 1);
    assert_eq!(state.events.len(), RECENT_EVENTS);
    assert!(state.commands.contains_key(&id(0)) && state.runs.contains_key(&run_id(0)));
    assert!(state.commands.contains_key(&id(300)) && !state.commands.contains_key(&id(250)));
    let wire = state.to_wire();
    assert_eq!(state.apply(a_command(7, CommandState::Success)), None, "older than all that is kept");
    assert_eq!(state.apply(a_run(7, true)), None, "older than all that is kept");
    assert_eq!(wire, state.to_wire());
    assert_eq!(wire.events.first().map(|event| event.id), Some(EventId(300)), "newest first");
    assert_eq!(wire.commands.first().map(|command| command.id), Some(id(300)));
    assert_eq!(wire.runs.first().map(|run| run.id), Some(run_id(300)));
}

#[test]
fn hosts_are_listed_by_criticality_then_name() {
    use nixfleet_protocol::agent::DeviceType;
    let mut state = empty();
    for (name, device_type) in [
        ("z", DeviceType::Server),
        ("a", DeviceType::Laptop),
        ("b", DeviceType::Server),
        ("c", DeviceType::Unknown),
        ("d", DeviceType::Gaming),
        ("e", DeviceType::Desktop),
    ] {
        let StateChange::Host(view) = host(name, &[]) else { unreachable!() };
        let shown = Host { device_type, ..(*view.host).clone() };
        let view = HostView { host: Arc::new(shown), refused: Arc::default(), system: view.system };
        state.apply(StateChange::Host(Arc::new(view)));
    }
    let names: Vec<_> = state.hosts_in_order().iter().map(|host| host.id.to_string()).collect();
    assert_eq!(names, ["b", "z", "e", "a", "d", "c"]);
}

/// What a client has that got the state once and changes since.
#[derive(Debug, PartialEq)]
struct Copy {
    hosts: BTreeMap<HostId, Arc<Host>>,
    commands: BTreeMap<CommandId, Arc<Command>>,
    runs: BTreeMap<RunId, Arc<Run>>,
    events: VecDeque<Arc<Event>>,
    remote: Arc<Remote>,
    server: Arc<Server>,
}

impl Copy {
    fn of(state: &State) -> Self {
        Self {
            hosts: state.hosts.iter().map(|host| (host.id.clone(), Arc::clone(host))).collect(),
            commands: state.commands.iter().map(|command| (command.id, Arc::clone(command))).collect(),
            runs: state.runs.iter().map(|run| (run.id, Arc::clone(run))).collect(),
            events: state.events.iter().cloned().collect(),
            remote: Arc::clone(&state.remote),
            server: Arc::clone(&state.server),
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::HostAdded(host) => assert!(self.hosts.insert(host.id.clone(), host).is_none(), "added twice"),
            Change::HostUpdated(host) => assert!(self.hosts.insert(host.id.clone(), host).is_some(), "never added"),
            Change::HostRemoved(id) => assert!(self.hosts.remove(&id).is_some(), "never added"),
            Change::CommandStarted(command) => {
                assert!(self.commands.insert(command.id, command).is_none(), "started twice");
            }
            Change::CommandProgress(command) | Change::CommandFinished(command) => {
                self.commands.insert(command.id, command);
                forget_oldest(&mut self.commands, RECENT_COMMANDS, |command| command.state.is_final());
            }
            Change::RunStarted(run) => assert!(self.runs.insert(run.id, run).is_none(), "started twice"),
            Change::RunUpdated(run) | Change::RunFinished(run) => {
                self.runs.insert(run.id, run);
                forget_oldest(&mut self.runs, RECENT_RUNS, |run| run.finished_at.is_some());
            }
            Change::RemoteUpdated(remote) => self.remote = remote,
            Change::Event(event) => {
                self.events.push_front(event);
                self.events.truncate(RECENT_EVENTS);
            }
            Change::ServerUpdated(server) => self.server = server,
        }
    }
}

fn any_change() -> impl Strategy<Value = StateChange> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let steps = || {
        prop::sample::select(vec![
            vec![],
            vec![Step::Push],
            vec![Step::RemoteFails],
            vec![Step::Starts(Op::Gc)],
            vec![Step::TestsFail],
        ])
    };
    let state = prop::sample::select(vec![
        CommandState::Pending,
        CommandState::Executing,
        CommandState::Killing,
        CommandState::Success,
        CommandState::Blocked,
    ]);
    prop_oneof![
        (name(), steps()).prop_map(|(name, steps)| host(name, &steps)),
        name().prop_map(removed),
        (0_u32..120, state).prop_map(|(number, state)| a_command(number, state)),
        (0_u32..60, any::<bool>()).prop_map(|(number, finished)| a_run(number, finished)),
        (0_u64..200).prop_map(an_event),
        steps().prop_map(|steps| a_remote(&steps)),
        prop::sample::select(vec!["1.0.0", "1.1.0"]).prop_map(|version| StateChange::Server(Arc::new(server(version)))),
    ]
}

proptest! {
    #[test]
    fn a_copy_that_gets_every_change_is_the_state(
        before in prop::collection::vec(any_change(), 0..60),
        after in prop::collection::vec(any_change(), 0..150),
    ) {
        let mut state = empty();
        for change in before {
            state.apply(change);
        }
        let mut copy = Copy::of(&state.to_wire());
        for change in after {
            let unchanged = state.to_wire();
            if let Some(wire) = state.apply(change) {
                copy.apply(wire);
            } else {
                prop_assert_eq!(unchanged, state.to_wire());
            }
            prop_assert_eq!(&copy, &Copy::of(&state.to_wire()));
        }
    }

    #[test]
    fn the_same_changes_make_the_same_state(changes in prop::collection::vec(any_change(), 0..80)) {
        let (mut one, mut two) = (empty(), empty());
        for change in changes {
            let named = one.apply(change.clone());
            prop_assert_eq!(&named, &two.apply(change.clone()));
            prop_assert_eq!(one.apply(change), None, "the same twice changes nothing");
        }
        prop_assert_eq!(one, two);
    }
}

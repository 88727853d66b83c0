//! Any sequence of inputs, however senseless: no panic, one slot, an owner for everything, answers for all who ask.

use super::*;

fn messages() -> impl Strategy<Value = AgentMessage> {
    let op = prop::sample::select(vec!["pull", "switch", "test", "restart", "reboot", "nonsense", ""]);
    prop_oneof![
        (any::<bool>(), 0_u8..6, op.clone()).prop_map(|(runs, number, op)| {
            AgentMessage::Heartbeat(Box::new(Heartbeat {
                running: Some(if runs { vec![id(number)] } else { Vec::new() }),
                pending_command: runs.then(|| op.to_owned()),
                ..Heartbeat::default()
            }))
        }),
        (0_u8..6, op, 0_i32..2, 0_u64..50).prop_map(|(number, op, code, end)| {
            let mut status = status(number, op, code, end);
            status.details = Some(Value::Null);
            AgentMessage::Status(status)
        }),
        (0_u8..6)
            .prop_map(|number| AgentMessage::Accepted(nixfleet_protocol::agent::Accepted { command_id: id(number) })),
        Just(AgentMessage::CommandRejected(nixfleet_protocol::agent::CommandRejected::default())),
    ]
}

pub(super) fn inputs() -> impl Strategy<Value = Input> {
    let op = prop::sample::select(Op::ALL.to_vec());
    let act = prop_oneof![
        Just(Act::Stop),
        any::<u32>().prop_map(|minutes| Act::Extend { minutes }),
        Just(Act::Ignore),
        Just(Act::GiveUp),
    ];
    prop_oneof![
        4 => (1_u64..3, 2_u32..4, any::<bool>(), 0_u8..6).prop_map(|(link, protocol, runs, number)| {
            let mut register = register(protocol, HEAD);
            if runs { register.running.push(id(number)) } else { register.results.push(id(number)) }
            Input::LinkUp { link, register }
        }),
        2 => (1_u64..3).prop_map(|link| Input::LinkDown { link }),
        6 => (1_u64..3, messages()).prop_map(|(link, message)| Input::Heard { link, message }),
        2 => (0_u8..6, 0_u64..60).prop_map(|(number, bytes)| Input::LogGrew { command: id(number), bytes }),
        4 => (0_u8..6, 0_u64..60).prop_map(|(number, bytes)| Input::LogFlushed { command: id(number), bytes }),
        2 => (0_u8..6, any::<bool>()).prop_map(|(number, known)| {
            let command = known.then(|| Box::new(Command::new(id(number), Some(host()), Op::Pull, "user".into(), at(0))));
            Input::Found { id: id(number), command }
        }),
        2 => (0_i64..5000).prop_map(|read| Input::Remote(remote(HEAD, read))),
        2 => (0_u64..10).prop_map(|number| Input::RemoteAsked { number: FIRST + number }),
        8 => (any::<bool>(), op, any::<u8>()).prop_map(|(force, op, ask)| {
            Input::Submit { ask: u64::from(ask), id: id(0), request: Submit { force, ..wish(op) } }
        }),
        3 => (100_u8..160, act).prop_map(|(number, action)| {
            Input::Act { ask: 1000, command: id(number), action, actor: "user".into() }
        }),
        1 => (0_u8..6).prop_map(|number| Input::HeardOf { command: id(number) }),
        1 => (100_u8..160).prop_map(|number| Input::TooLate { command: id(number) }),
        3 => Just(Input::Timer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_sequence_breaks_a_host(steps in prop::collection::vec((inputs(), 0_i64..400), 1..60)) {
        let mut core = core();
        let mut now = 0;
        let mut stored: BTreeMap<CommandId, Command> = BTreeMap::new();
        let mut record = None;
        for (number, (mut input, wait)) in (100_u8..).zip(steps) {
            now += wait;
            if let Input::Submit { id: submitted, .. } = &mut input {
                *submitted = id(number);
            }
            let told = matches!(input, Input::Submit { .. } | Input::Act { .. });
            let timer = matches!(input, Input::Timer);
            let step = core.step(input, at(now));
            if step.writes.removed.is_some() {
                break;
            }
            for command in step.writes.commands {
                if let Some(before) = stored.get(&command.id).filter(|before| before.state.is_final() && before.sent_at.is_some()) {
                    prop_assert_eq!(before.state, command.state, "what is over on disk stays over");
                }
                stored.insert(command.id, command);
            }
            if !step.writes.changes.is_empty() {
                prop_assert!(step.writes.host.is_some());
            }
            record = step.writes.host.or(record);
            prop_assert_eq!(core.record().open, core.open().map(|open| open.id), "one slot, one truth");
            prop_assert!(core.open().is_none_or(|open| !open.state.is_final()));
            for command in stored.values() {
                let over_or_open = command.state.is_final() || core.command(command.id).is_some();
                prop_assert!(over_or_open, "a command without an owner: {:?}", command);
            }
            // What is in memory is on disk, save for facts and what grows.
            if let (Some(open), Some(record)) = (core.open(), &record) {
                prop_assert_eq!(record.open, Some(open.id));
                prop_assert_eq!(stored.get(&open.id).map(|command| command.state), Some(open.state));
            }
            if told {
                let answers = |effect: &Effect| {
                    matches!(effect, Effect::Answer { .. } | Effect::AnswerAct { .. } | Effect::AskRemote { .. })
                };
                prop_assert!(step.then.iter().any(answers));
            }
            if timer {
                // A deadline that its own timer does not move would come again at once, for ever.
                let wake = core.next_wake(at(now));
                prop_assert!(wake.is_none_or(|wake| wake > at(now)), "{wake:?} at {:?}", at(now));
            }
            let view = core.view(None, at(now));
            prop_assert_eq!(view.host.command.is_some(), core.open().is_some());
        }
    }
}

//! A run owns a host: what others want is refused, and what the run wants is begun at most once.

use nixfleet_protocol::RunId;
use uuid::Uuid;

use super::*;

fn run(number: u128) -> RunId {
    RunId::from_uuid(Uuid::from_u128(number))
}

fn wanted(number: u8, owner: u128) -> Submit {
    Submit { id: Some(id(number)), run_id: Some(run(owner)), ..wish(Op::Test) }
}

fn ask(core: &mut Core, request: Submit, now: i64) -> Submitted {
    let step = core.step(Input::Submit { ask: 9, id: request.id.unwrap_or(id(77)), request }, at(now));
    let answers = step.then.into_iter().filter_map(|effect| match effect {
        Effect::Answer { answer, .. } => Some(answer),
        _ => None,
    });
    answers.last().expect("it is answered")
}

fn code(submitted: &Submitted) -> &str {
    match submitted {
        Submitted::Blocked(_, refusal) | Submitted::NotNow(refusal) => refusal.code,
        Submitted::Accepted(_) | Submitted::NoSuchHost | Submitted::Unavailable(_) | Submitted::Late { .. } => "",
    }
}

#[test]
fn a_host_that_is_idle_can_be_had_and_then_belongs_to_the_run_alone() {
    let mut core = linked();
    let step = core.step(Input::Reserve { ask: 1, run: run(1) }, at(2));
    assert!(step.publish && matches!(&step.then[..], [Effect::AnswerReserve { answer: Ok(()), .. }]));
    let step = core.step(Input::Reserve { ask: 2, run: run(2) }, at(2));
    let [Effect::AnswerReserve { answer: Err(refusal), .. }] = &step.then[..] else { panic!("{step:?}") };
    assert_eq!(refusal.code, "host_busy");
    let single = ask(&mut core, wish(Op::Test), 3);
    assert!(
        code(&single) == "host_busy"
            && matches!(&single, Submitted::Blocked(_, refusal) if refusal.message.contains(&run(1).to_string()))
    );
    assert_eq!(code(&ask(&mut core, wanted(1, 2), 3)), "not_owned");
    assert!(matches!(ask(&mut core, wanted(1, 1), 3), Submitted::Accepted(_)));
    core.step(Input::Owned(None), at(4));
    assert_eq!(core.run(), None);
}

#[test]
fn a_host_that_runs_something_can_not_be_had() {
    let mut core = linked();
    submit(&mut core, 1, Op::Test, 2);
    let step = core.step(Input::Reserve { ask: 1, run: run(1) }, at(3));
    let [Effect::AnswerReserve { answer: Err(refusal), .. }] = &step.then[..] else { panic!("{step:?}") };
    assert_eq!((refusal.code, refusal.command_id), ("host_busy", Some(id(1))));
}

#[test]
fn an_id_that_is_known_is_answered_with_its_command_and_begins_nothing() {
    let mut core = linked();
    core.step(Input::Owned(Some(run(1))), at(2));
    assert_eq!(code(&ask(&mut core, Submit { only_known: true, ..wanted(1, 1) }, 3)), "not_begun");
    assert!(core.open().is_none());
    assert!(matches!(ask(&mut core, wanted(1, 1), 3), Submitted::Accepted(command) if command.id == id(1)));
    let again = core.step(Input::Submit { ask: 9, id: id(1), request: wanted(1, 1) }, at(4));
    assert!(again.writes.is_empty() && again.then.len() == 1, "{again:?}");
    assert!(core.was_given(id(1)) && !core.was_given(id(2)));
}

#[test]
fn a_run_that_comes_at_a_bad_moment_is_told_so_and_nothing_is_kept_of_it() {
    let mut core = core();
    core.step(Input::Owned(Some(run(1))), at(2));
    let step = core.step(Input::Submit { ask: 9, id: id(1), request: wanted(1, 1) }, at(3));
    assert!(step.writes.is_empty() && !core.was_given(id(1)));
    let [Effect::Answer { answer: Submitted::NotNow(refusal), .. }] = &step.then[..] else { panic!("{step:?}") };
    assert_eq!(refusal.code, "host_offline");
}

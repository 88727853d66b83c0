use super::*;
use crate::facts::Identity;
use crate::journal::entry::RESULT;
use crate::record::tests_support::settings;
use nixfleet_protocol::agent::Platform;

#[test]
fn a_restart_whose_link_broke_before_the_agent_went_is_begun_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let identity = Identity { journal: journal.id(), instance: InstanceId::from_uuid(Uuid::from_u128(1)), boot: None };
    let launcher = Launcher::here(Vec::new(), String::new(), None).unwrap();
    let settings = settings(Platform::Script);
    let mut commands = Commands::new(journal, launcher, settings, &identity, AgentProgram::default()).unwrap();
    let id = CommandId::from_uuid(Uuid::from_u128(7));
    let order = || Command { command: "restart".into(), command_id: Some(id), args: None, hard_limit_s: None };
    assert!(matches!(commands.take(order(), false), Answer::Restarting(_)));
    assert!(matches!(commands.take(order(), false), Answer::Restarting(_)), "the same id again, not begun yet");
    commands.begin_restart(id).unwrap();
    assert!(matches!(commands.take(order(), false), Answer::Accepted(_)), "an id runs at most once");
}

#[test]
fn an_id_of_which_nothing_else_is_known_is_said_to_be_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let id = CommandId::from_uuid(Uuid::from_u128(7));
    let mut journal = Journal::open(dir.path()).unwrap();
    let Admission::New(entry) = journal.admit(&crate::record::tests_support::order(id)).unwrap() else { panic!() };
    // A result that nobody can read.
    durable::write(&entry.file(RESULT), b"{}").unwrap();
    entry.acknowledge(Time::from_millis(0)).unwrap();
    assert_eq!(journal.prune(Time::from_millis(8 * 24 * 3600 * 1000)).unwrap(), 1);
    let identity = Identity { journal: journal.id(), instance: InstanceId::from_uuid(Uuid::from_u128(1)), boot: None };
    let launcher = Launcher::here(Vec::new(), String::new(), None).unwrap();
    let settings = settings(Platform::Script);
    let mut commands = Commands::new(journal, launcher, settings, &identity, AgentProgram::default()).unwrap();
    let order = Command { command: "switch".into(), command_id: Some(id), args: None, hard_limit_s: None };
    let Answer::Rejected(answer) = commands.take(order, false) else { panic!("it is no new command") };
    assert_eq!((answer.reason.as_str(), answer.command_id), ("forgotten", Some(id)));
}

use super::*;
use crate::journal::entry::Standing;
use crate::record::tests_support::order;

fn id(n: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(n))
}

#[test]
fn a_journal_keeps_its_id_and_an_id_is_admitted_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert!(matches!(journal.admit(&order(id(1))).unwrap(), Admission::New(_)));
    assert!(matches!(journal.admit(&order(id(1))).unwrap(), Admission::Known(_)));
    let again = Journal::open(dir.path()).unwrap();
    assert_eq!(again.id(), journal.id());
    let Admission::Known(entry) = again.admit(&order(id(1))).unwrap() else { panic!("not known") };
    assert_eq!(entry.standing().unwrap(), Standing::Startable);
    assert_eq!(entry.order().unwrap(), Some(order(id(1))));
}

#[test]
fn the_files_of_a_folder_say_how_things_stand() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let Admission::New(entry) = journal.admit(&order(id(1))).unwrap() else { panic!("not new") };
    assert_eq!(entry.standing().unwrap(), Standing::Startable);
    let lock = durable::claim(&entry.file(entry::STARTED), b"{}").unwrap();
    assert_eq!(entry.standing().unwrap(), Standing::Running);
    drop(lock);
    assert_eq!(entry.standing().unwrap(), Standing::Abandoned);
    durable::write(&entry.file(entry::RESULT), b"{}").unwrap();
    assert_eq!(entry.standing().unwrap(), Standing::Ended);
}

#[test]
fn a_deleted_command_stays_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let Admission::New(entry) = journal.admit(&order(id(1))).unwrap() else { panic!("not new") };
    let Admission::New(waiting) = journal.admit(&order(id(2))).unwrap() else { panic!("not new") };
    durable::write(&entry.file(entry::RESULT), b"{}").unwrap();
    durable::write(&waiting.file(entry::RESULT), b"{}").unwrap();
    entry.acknowledge(Time::from_millis(0)).unwrap();
    assert_eq!(journal.prune(Time::from_millis(1)).unwrap(), 0);
    assert_eq!(journal.prune(Time::from_millis(8 * 24 * 3600 * 1000)).unwrap(), 1);
    assert_eq!(journal.entries().unwrap().len(), 1);
    assert!(matches!(journal.admit(&order(id(1))).unwrap(), Admission::Forgotten));
}

#[test]
fn how_a_deleted_command_ended_stays_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let Admission::New(entry) = journal.admit(&order(id(1))).unwrap() else { panic!("not new") };
    let outcome = crate::record::Outcome {
        exit_code: 4,
        stage: Some(crate::record::Stage::Activation),
        message: "it broke".into(),
        ..crate::runner::facts_now(&order(id(1)))
    };
    durable::write_json(&entry.file(entry::RESULT), &outcome).unwrap();
    entry.acknowledge(Time::from_millis(0)).unwrap();
    assert_eq!(journal.prune(Time::from_millis(8 * 24 * 3600 * 1000)).unwrap(), 1);
    let past = Journal::open(dir.path()).unwrap().past(id(1)).unwrap().unwrap();
    assert_eq!((past.word.as_str(), past.exit_code, past.message.as_str()), ("switch", 4, "it broke"));
    assert_eq!(journal.past(id(2)).unwrap(), None);
}

#[test]
fn a_folder_that_never_became_a_command_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    fs::create_dir(journal.commands_dir().join(".new-x")).unwrap();
    fs::create_dir(journal.commands_dir().join(".old-y")).unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(fs::read_dir(journal.commands_dir()).unwrap().count(), 0);
}

#[test]
fn an_order_that_could_not_be_made_durable_was_never_there() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let folder = journal.folder(id(1));
    let full = |_: &Path| Err(io::Error::from(io::ErrorKind::StorageFull));
    let refused = journal.write(&order(id(1)), &folder, full).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert!(journal.entries().unwrap().is_empty(), "no later start of the agent finds it");
    assert!(journal.find(id(1)).unwrap().is_none());
    assert!(matches!(journal.admit(&order(id(1))).unwrap(), Admission::New(_)), "and it may come again");
}

//! Any sequence of batches, against a map in memory: the same before and after a restart.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Do {
    Host(u8, u16),
    Gone(u8),
    Command(u8, u8, bool, u16),
    Token(u8, u8),
    NoToken(u8),
    Setting(u8, u16),
    Event(u16),
    Restart,
}

fn any_do() -> impl Strategy<Value = Do> {
    prop_oneof![
        (0..5_u8, 0..9000_u16).prop_map(|(host, size)| Do::Host(host, size)),
        (0..5_u8).prop_map(Do::Gone),
        (0..20_u8, 0..5_u8, any::<bool>(), 0..9000_u16)
            .prop_map(|(id, host, over, size)| Do::Command(id, host, over, size)),
        (0..8_u8, 0..5_u8).prop_map(|(token, host)| Do::Token(token, host)),
        (0..8_u8).prop_map(Do::NoToken),
        (0..3_u8, 0..9000_u16).prop_map(|(name, size)| Do::Setting(name, size)),
        (0..9000_u16).prop_map(Do::Event),
        Just(Do::Restart),
    ]
}

#[derive(Debug, Default, PartialEq)]
struct Model {
    hosts: BTreeMap<HostId, HostRecord>,
    commands: BTreeMap<CommandId, Command>,
    tokens: BTreeMap<SecretHash, Token>,
    settings: BTreeMap<&'static str, Vec<u8>>,
    events: Vec<String>,
}

const SETTINGS: [&str; 3] = ["a", "b", "c"];

impl Model {
    /// Does it to the map, and gives the batch that does it to the store.
    fn batch(&mut self, dos: &[Do]) -> Batch {
        let mut batch = Batch::default();
        for what in dos {
            match what {
                Do::Host(number, size) => {
                    let mut record = host_record(&format!("h{number}"));
                    record.chosen.comment = Some("c".repeat(usize::from(*size)));
                    self.hosts.insert(record.id.clone(), record.clone());
                    batch.writes.push(Write::PutHost(Box::new(record)));
                }
                Do::Gone(number) => {
                    let id = host(&format!("h{number}"));
                    self.hosts.remove(&id);
                    self.tokens.retain(|_, token| token.kind != TokenKind::Host(id.clone()));
                    batch.writes.push(Write::RemoveHost(id));
                }
                Do::Command(number, on, over, size) => {
                    let state = if *over { CommandState::Error } else { CommandState::Executing };
                    // A command never changes its host.
                    let on = self
                        .commands
                        .get(&id((*number).into()))
                        .map_or_else(|| format!("h{on}"), |before| before.host.as_ref().unwrap().to_string());
                    let mut command = a_command((*number).into(), Some(&on), state);
                    command.message = Some("m".repeat(usize::from(*size)));
                    self.commands.insert(command.id, command.clone());
                    batch.writes.push(put_command(command));
                }
                Do::Token(number, on) => {
                    let token = a_token("t", TokenKind::Host(host(&format!("h{on}"))));
                    self.tokens.insert([*number; 32], token.clone());
                    batch.writes.push(Write::PutToken([*number; 32], token));
                }
                Do::NoToken(number) => {
                    self.tokens.remove(&[*number; 32]);
                    batch.writes.push(Write::RemoveToken([*number; 32]));
                }
                Do::Setting(number, size) => {
                    let name = SETTINGS[usize::from(*number)];
                    self.settings.insert(name, vec![1; usize::from(*size)]);
                    batch.writes.push(Write::PutSetting(name, vec![1; usize::from(*size)]));
                }
                Do::Event(size) => {
                    self.events.push("e".repeat(usize::from(*size)));
                    batch.events.push(an_event(&"e".repeat(usize::from(*size))));
                }
                Do::Restart => {}
            }
        }
        batch
    }

    async fn of(store: &StoreHandle) -> Self {
        let loaded = store.load().await.unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
        let commands = store.commands(None, None, 1000).await.unwrap();
        let open: BTreeSet<_> = loaded.open.iter().map(|command| command.id).collect();
        let not_final: BTreeSet<_> =
            commands.iter().filter(|command| !command.state.is_final()).map(|command| command.id).collect();
        assert_eq!(open, not_final);
        let mut by_host = 0;
        for number in 0..5 {
            by_host += store.commands(Some(host(&format!("h{number}"))), None, 1000).await.unwrap().len();
        }
        assert_eq!(by_host, commands.len());
        let mut settings = BTreeMap::new();
        for name in SETTINGS {
            if let Some(value) = store.setting(name).await.unwrap() {
                settings.insert(name, value);
            }
        }
        let mut events = store.events(None, 1000).await.unwrap();
        events.reverse();
        assert!(events.iter().zip(1..).all(|(event, number)| event.id == EventId(number)));
        Self {
            hosts: loaded.hosts.into_iter().map(|host| (host.id.clone(), host)).collect(),
            commands: commands.into_iter().map(|command| (command.id, command)).collect(),
            tokens: store.access().await.unwrap().tokens.into_iter().collect(),
            settings,
            events: events.iter().map(|event| event.message.clone()).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_batches_is_what_a_map_would_hold(batches in vec(vec(any_do(), 1..12), 1..12)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut model = Model::default();
            let mut store = Running::open(dir.path()).await;
            for dos in batches {
                let batch = model.batch(&dos);
                store.handle.commit(batch).await.unwrap();
                if dos.iter().any(|what| matches!(what, Do::Restart)) {
                    store.stop().await;
                    store = Running::open(dir.path()).await;
                }
                assert_eq!(Model::of(&store.handle).await, model);
            }
            store.stop().await;
            let store = Running::open(dir.path()).await;
            assert_eq!(Model::of(&store.handle).await, model);
            assert_eq!(std::fs::read_dir(dir.path().join("store/blobs")).unwrap().count(), 0);
            store.stop().await;
        });
    }
}

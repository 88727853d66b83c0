//! What people choose and ask for: it wins, it is written with its event, and it is checked.

use super::*;

#[test]
fn people_choose_and_the_choice_is_written_with_its_event() {
    let mut core = linked();
    let mut wish = wish(Op::SetColor);
    wish.args.insert("color".into(), json!("#ABCDEF"));
    let step = core.step(Input::Submit { ask: 1, id: id(1), request: wish.clone() }, at(2));
    assert_eq!(step.writes.host.unwrap().chosen.color.as_deref(), Some("#abcdef"));
    assert_eq!(step.writes.events.len(), 1);
    wish.args.insert("color".into(), json!("red"));
    let step = core.step(Input::Submit { ask: 2, id: id(2), request: wish }, at(2));
    assert_eq!(refusal(&step), Some("bad_args"));
    assert_eq!(core.record().chosen.color.as_deref(), Some("#abcdef"));
}

#[test]
fn a_colour_that_a_person_chose_outlives_the_next_register() {
    let mut core = linked();
    let mut wish = wish(Op::SetColor);
    wish.args.insert("color".into(), json!("#abcdef"));
    core.step(Input::Submit { ask: 1, id: id(1), request: wish.clone() }, at(2));
    let mut reported = register(3, "aaaaaaa");
    reported.theme_color = "#000001".into();
    core.step(Input::LinkUp { link: 2, register: reported }, at(3));
    assert_eq!(core.view(None, at(3)).host.color.as_deref(), Some("#abcdef"));
    wish.args.insert("color".into(), Value::Null);
    core.step(Input::Submit { ask: 2, id: id(2), request: wish }, at(4));
    assert_eq!(core.view(None, at(4)).host.color.as_deref(), Some("#000001"), "given back");
}

#[test]
fn chosen_tags_win_over_reported_ones_until_they_are_given_back() {
    let mut core = linked();
    for (tags, shown, refused) in [
        (json!(["web", " web ", "eu"]), vec!["web", "eu"], None),
        (json!(["web", "\u{7}"]), vec!["web", "eu"], Some("bad_args")),
        (json!("web"), vec!["web", "eu"], Some("bad_args")),
        (json!((0..21).map(|n| n.to_string()).collect::<Vec<_>>()), vec!["web", "eu"], Some("bad_args")),
        (json!([]), vec![], None),
        (Value::Null, vec!["reported"], None),
    ] {
        let mut reported = register(3, "aaaaaaa");
        reported.tags = vec!["reported".into()];
        core.step(Input::LinkUp { link: 1, register: reported }, at(1));
        let mut wish = wish(Op::SetTags);
        wish.args.insert("tags".into(), tags.clone());
        let step = core.step(Input::Submit { ask: 1, id: id(1), request: wish }, at(2));
        assert_eq!(refusal(&step), refused, "{tags}");
        assert_eq!(core.view(None, at(2)).host.tags, shown, "{tags}");
    }
}

#[test]
fn exec_needs_the_hosts_leave_and_is_audited_with_what_it_ran() {
    let mut core = core();
    core.step(Input::LinkUp { link: 1, register: register(3, HEAD) }, at(1));
    assert_eq!(refusal(&submit(&mut core, 1, Op::Exec, 2)), Some("exec_disabled"));
    let mut allowed = register(3, HEAD);
    allowed.features = vec!["exec".into()];
    core.step(Input::LinkUp { link: 2, register: allowed }, at(3));
    let mut request = wish(Op::Exec);
    request.args.insert("argv".into(), json!(["uname", "-a"]));
    let step = core.step(Input::Submit { ask: 1, id: id(2), request }, at(4));
    assert_eq!(frames(&step), ["command"]);
    let event = &step.writes.events[0];
    assert_eq!((event.action.as_str(), event.actor.as_str()), ("command_started", "user"));
    assert!(event.details.as_deref().is_some_and(|text| text.contains(r#""argv":["uname","-a"]"#)), "{event:?}");
    assert_eq!(crate::ops::spec(Op::Exec).scope, crate::ops::Scope::Admin);
}

#[test]
fn generations_are_numbers_and_not_words() {
    let mut core = linked();
    let generation = |number, current| nixfleet_protocol::agent::Generation { number, commit: None, at: None, current };
    let generations = Some(vec![generation(9, false), generation(10, true), generation(2, false)]);
    core.step(heard(AgentMessage::Heartbeat(Box::new(Heartbeat { generations, ..Heartbeat::default() }))), at(2));
    let numbers: Vec<_> = core.record().facts.generations.iter().map(|generation| generation.number).collect();
    assert_eq!(numbers, [10, 9, 2]);
    assert!(core.view(None, at(3)).host.offers.contains(&Op::Rollback), "9 is before 10");
}

#[test]
fn a_linked_host_is_not_removed_and_a_lost_one_is() {
    let mut core = linked();
    assert_eq!(refusal(&submit(&mut core, 1, Op::Remove, 2)), Some("host_online"));
    core.step(Input::LinkDown { link: 1 }, at(3));
    let step = submit(&mut core, 2, Op::Remove, 4);
    assert_eq!(step.writes.removed, Some(host()));
    assert!(step.writes.host.is_none(), "what is removed is not written again");
    assert!(matches!(step.then.last(), Some(Effect::Gone)));
}

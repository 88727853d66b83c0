//! What fails is told apart by its stage, and what a failed activation leaves is told as it is.

use serde_json::Value;

use crate::configuration::Configuration;
use crate::machine::Machine;

/// The stage, the code and the sentence of a command that failed.
fn verdict(command: &Value) -> (&str, i64, &str) {
    let message = command["message"].as_str().unwrap_or_default();
    (command["stage"].as_str().unwrap_or_default(), command["exit_code"].as_i64().unwrap(), message)
}

fn instead(expression: &str) -> Configuration {
    Configuration { instead: Some(expression.to_owned()), ..Configuration::default() }
}

#[test]
fn evaluation_and_build_are_told_apart() {
    let name = "failures::evaluation_and_build_are_told_apart";
    let Some(machine) = Machine::new(name, &Configuration::default()) else { return };
    machine.run("switch", "SUCCESS");
    let one = machine.running();
    for (expression, stage, words) in [
        // A mistake in the configuration.
        (r#"throw "the option services.foo does not exist""#, "evaluation", "the option services.foo does not exist"),
        ("toplevel.missing.attribute", "evaluation", "missing"),
        // A builder that fails, of the system itself and of something that it needs.
        (r#"make "broken-1.0" { } "echo no such file >&2; exit 7""#, "build", "broken-1.0.drv"),
        (
            r#"make "system" { needs = make "broken-1.1" { } "echo cc1: error >&2; exit 1"; } "touch $out""#,
            "build",
            "broken-1.1.drv",
        ),
        // An evaluation that builds on its way: the build is well, and the configuration is not.
        (r#"throw "read ${builtins.readFile (make "on-the-way" { } "echo -n it > $out")}""#, "evaluation", "read it"),
        // Nobody here can build that.
        (r#"derivation { name = "alien"; system = "sparc-plan9"; builder = "/bin/sh"; }"#, "build", "sparc-plan9"),
    ] {
        machine.bring(&instead(expression), "a mistake");
        for op in ["switch", "plan"] {
            let failed = machine.run(op, "ERROR");
            let (told, code, message) = verdict(&failed);
            assert_eq!((told, code), (stage, 1), "{expression}: {failed:#}\n{}", machine.lines(&failed));
            assert!(message.contains(words), "{expression}: {message}");
        }
        assert_eq!((machine.running(), machine.generations()), (one.clone(), vec![1]), "nothing was touched");
    }
    let failed = machine.run("refresh-system", "SUCCESS");
    assert_eq!(failed["details"]["system"]["same"], false, "what can't be built can be evaluated");
    machine.expect_lights("🟢🟢🟢🔴⚪");
}

#[test]
fn an_activation_that_fails_with_4_leaves_the_profile_and_the_rollback_mends_it() {
    let name = "failures::an_activation_that_fails_with_4_leaves_the_profile_and_the_rollback_mends_it";
    let Some(machine) = Machine::new(name, &Configuration::default()) else { return };
    machine.run("switch", "SUCCESS");
    let one = machine.running();

    // Before the new system runs.
    let fails = |word: &str| format!("echo 'could not {word} the agenix secrets' >&2; exit 4");
    let early = Configuration { before: fails("decrypt"), ..Configuration::default() };
    machine.bring(&early, "an activation that fails early");
    let failed = machine.run("switch", "ERROR");
    let (stage, code, message) = verdict(&failed);
    assert_eq!((stage, code), ("activation", 4), "{failed:#}");
    assert!(message.contains("generation 2 is in the profile") && message.contains("roll back"), "{message}");
    assert_eq!((machine.running(), machine.generations()), (one.clone(), vec![1, 2]));
    let named = machine.named().unwrap();
    assert_ne!(Some(&named), one.as_ref());
    let left = &failed["details"]["activation"];
    assert_eq!(left["profile"], named.display().to_string(), "{left}");
    assert_eq!(left["running"], one.as_ref().unwrap().display().to_string(), "{left}");
    machine.expect_lights("🟢🟢🟢🔴⚪");
    let light = machine.host()["lights"]["system"].clone();
    assert!(light["message"].as_str().unwrap().contains("roll back"), "{light}");
    assert!(light.to_string().contains("\"rollback\""), "{light}");

    // The same system ran all the time, and the rollback is a success: the profile names it again.
    machine.run("rollback", "SUCCESS");
    assert_eq!((machine.running(), machine.named()), (one.clone(), one.clone()));
    // Red until a switch succeeds, and it says that the way out was taken.
    machine.expect_lights("🟢🟢🟢🔴⚪");
    let light = machine.host()["lights"]["system"]["message"].to_string();
    assert!(light.contains("It was rolled back on"), "{light}");

    // A good one in between: the generation before the next failure is one that ran.
    machine.bring(&Configuration { kernel: "6.7", ..Configuration::default() }, "a good one");
    machine.run("switch", "SUCCESS");
    let three = machine.running();

    // After the new system runs: units that do not start.
    let late = Configuration { after: fails("restart"), ..Configuration::default() };
    machine.bring(&late, "an activation that fails late");
    let failed = machine.run("switch", "ERROR");
    let (stage, code, message) = verdict(&failed);
    assert_eq!((stage, code), ("activation", 4), "{failed:#}");
    assert!(message.contains("runs, but its activation is not complete"), "{message}");
    assert_eq!(machine.running(), machine.named());
    assert_ne!(machine.running(), three);
    machine.expect_lights("🟢🟢🟢🔴⚪");
    machine.run("rollback", "SUCCESS");
    assert_eq!((machine.running(), machine.named()), (three.clone(), three));

    // The older tool makes a 1 of every code.
    std::fs::write(machine.path("older"), "").unwrap();
    let failed = machine.run("switch", "ERROR");
    let (stage, code, _) = verdict(&failed);
    assert_eq!((stage, code), ("activation", 1), "{failed:#}");
}

#[test]
fn an_activation_that_is_killed_is_called_interrupted() {
    let name = "failures::an_activation_that_is_killed_is_called_interrupted";
    let Some(machine) = Machine::new(name, &Configuration::default()) else { return };
    machine.run("switch", "SUCCESS");
    let one = machine.running();
    for (who, before) in [
        ("the activation", "echo half way >&2; kill -TERM $$; sleep 60"),
        ("the tool", "echo half way >&2; kill -TERM $PPID; exit 1"),
    ] {
        machine.bring(&Configuration { before: before.to_owned(), ..Configuration::default() }, who);
        let failed = machine.run("switch", "ERROR");
        let (stage, code, message) = verdict(&failed);
        assert_eq!((stage, code), ("interrupted", 143), "{who}: {failed:#}");
        assert!(message.contains("SIGTERM") && message.contains("is in the profile"), "{who}: {message}");
        assert!(machine.lines(&failed).contains("half way"), "what it printed is there");
        assert_eq!(machine.running(), one, "{who}");
        machine.expect_lights("🟢🟢🟢🔴⚪");
        if who == "the activation" {
            machine.run("rollback", "SUCCESS");
            assert_eq!((machine.running(), machine.named()), (one.clone(), one.clone()));
        }
    }
    // Nobody waits for it any more, and the next switch is a good one.
    machine.bring(&Configuration { kernel: "6.7", ..Configuration::default() }, "a good one");
    machine.run("switch", "SUCCESS");
    machine.expect_lights("🟢🟢🟢🟢⚪");
}

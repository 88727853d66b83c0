//! What nix really prints in three versions, and what it might print.

use super::*;
use proptest::prelude::*;

/// What three versions of nix really print.
const SAMPLES: [(&str, [&str; 3]); 4] = [
    (
        "build",
        [
            include_str!("../../tests/data/nix/internal-json-build-2.8.0.txt"),
            include_str!("../../tests/data/nix/internal-json-build-2.26.3.txt"),
            include_str!("../../tests/data/nix/internal-json-build-2.34.8.txt"),
        ],
    ),
    (
        "builderr",
        [
            include_str!("../../tests/data/nix/internal-json-builderr-2.8.0.txt"),
            include_str!("../../tests/data/nix/internal-json-builderr-2.26.3.txt"),
            include_str!("../../tests/data/nix/internal-json-builderr-2.34.8.txt"),
        ],
    ),
    (
        "evalerr",
        [
            include_str!("../../tests/data/nix/internal-json-evalerr-2.8.0.txt"),
            include_str!("../../tests/data/nix/internal-json-evalerr-2.26.3.txt"),
            include_str!("../../tests/data/nix/internal-json-evalerr-2.34.8.txt"),
        ],
    ),
    (
        "substitute",
        [
            include_str!("../../tests/data/nix/internal-json-substitute-2.8.0.txt"),
            include_str!("../../tests/data/nix/internal-json-substitute-2.26.3.txt"),
            include_str!("../../tests/data/nix/internal-json-substitute-2.34.8.txt"),
        ],
    ),
];

fn new_log(dir: &std::path::Path) -> NixLog {
    NixLog::new(dir.join("progress.json"))
}

/// Reads lines; checks at each that nothing goes back within a realisation.
fn read<'a>(log: &mut NixLog, lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut shown = Vec::new();
    for line in lines {
        let (realisation, before) = (log.realisations, log.progress());
        shown.extend(log.line(Stream::Stderr, line, false));
        let now = log.progress();
        assert!(now.done <= now.expected, "{now:?}");
        if log.realisations == realisation && log.realisations > 0 && log.source == Source::Nix {
            assert!(now.done >= before.done && now.expected >= before.expected, "{before:?} → {now:?}: {line}");
        }
    }
    shown
}

#[test]
fn the_samples_of_all_versions_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    for (what, versions) in SAMPLES {
        for (version, sample) in versions.into_iter().enumerate() {
            let mut log = new_log(dir.path());
            let shown = read(&mut log, sample.lines());
            log.finish();
            assert!(shown.iter().all(|line| !line.starts_with("@nix")), "{what} {version}");
            let progress = log.progress();
            match what {
                "build" => {
                    // The newest counts one more than it builds, for a moment; the highest is kept.
                    let Counter { done, expected } = log.work.builds;
                    assert!(done == 6 && expected <= 7, "{version} {:?}", log.work);
                    assert_eq!((progress.done, progress.phase.as_str()), (Some(6), "build"), "{version}");
                    assert!(progress.text.starts_with("6 of "), "{version} {progress:?}");
                    assert!(
                        shown.iter().any(|line| line.starts_with("dep-1-") && line.contains("> building")),
                        "{shown:?}"
                    );
                }
                "substitute" => {
                    assert_eq!(progress.phase, "copy", "{version} {progress:?}");
                    // Nix expected a build until it knew that it can copy.
                    assert_eq!((progress.done, progress.expected), (Some(1), Some(1)), "{version} {progress:?}");
                }
                "evalerr" => {
                    assert_eq!(log.stage(), Stage::Evaluation, "{version}");
                    assert_eq!(log.error().unwrap(), "error: The option `services.foo' does not exist.", "{version}");
                    assert_eq!(progress.phase, "evaluate");
                }
                _ => {
                    assert_eq!(log.stage(), Stage::Build, "{version}");
                    let error = log.error().unwrap();
                    assert!(error.starts_with("error: ") && error.contains("failed with exit code 7"), "{error}");
                }
            }
            assert_eq!(log.error().is_some(), what.ends_with("err"), "{what} {version}: {:?}", log.error());
        }
    }
}

#[test]
fn names_of_what_is_being_built_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = new_log(dir.path());
    read(
        &mut log,
        [
            r#"@nix {"action":"start","id":1,"level":0,"text":"","type":102}"#,
            r#"@nix {"action":"start","id":2,"level":0,"text":"","type":104}"#,
            r#"@nix {"action":"start","id":3,"level":0,"text":"","type":103}"#,
            r#"@nix {"action":"result","fields":[1,4,1,0],"id":2,"type":105}"#,
            r#"@nix {"action":"result","fields":[2,9,1,0],"id":3,"type":105}"#,
            r#"@nix {"action":"start","fields":["/nix/store/abc-curl-8.2.0.drv","",1,1],"id":5,"level":3,"text":"","type":105}"#,
            r#"@nix {"action":"start","fields":["https://c.org/nar/x.nar.xz"],"id":6,"level":4,"text":"","type":101}"#,
            r#"@nix {"action":"result","fields":[700,1000,0,0],"id":6,"type":105}"#,
            r#"@nix {"action":"stop","id":6}"#,
        ],
    );
    let wanted = ProgressRecord {
        phase: "build".into(),
        done: Some(3),
        expected: Some(13),
        text: "1 of 4 builds, 2 of 9 copies: curl-8.2.0".into(),
        passed: None,
    };
    assert_eq!(log.progress(), wanted);
    assert_eq!(log.downloaded(), 700);
    // The next realisation starts over.
    read(&mut log, [r#"@nix {"action":"start","id":9,"level":0,"text":"","type":102}"#]);
    assert_eq!(log.progress().done, None);
}

#[test]
fn an_evaluation_that_built_something_on_its_way_is_still_one() {
    let dir = tempfile::tempdir().unwrap();
    let begun = [
        r#"@nix {"action":"start","id":1,"level":0,"text":"","type":102}"#,
        r#"@nix {"action":"start","id":2,"level":0,"text":"","type":104}"#,
        r#"@nix {"action":"result","fields":[0,1,0,0],"id":2,"type":105}"#,
    ];
    let built = [r#"@nix {"action":"result","fields":[1,1,0,0],"id":2,"type":105}"#];
    // What was counted twice for a moment is not taken back by the newest nix.
    let counted = [r#"@nix {"action":"result","fields":[1,2,0,0],"id":2,"type":105}"#];
    let failed = [r#"@nix {"action":"result","fields":[0,0,0,1],"id":2,"type":105}"#];
    let over = [r#"@nix {"action":"stop","id":2}"#, r#"@nix {"action":"stop","id":1}"#];
    let error = [r#"@nix {"action":"msg","level":0,"msg":"error: no","raw_msg":"no"}"#];
    let traced = [
        r#"@nix {"action":"msg","level":0,"msg":"error:\n … while calling the 'throw' builtin\n error: no","raw_msg":"no"}"#,
    ];
    for (lines, stage) in [
        ([&begun[..], &built, &over, &error].concat(), Stage::Evaluation),
        ([&begun[..], &counted, &over, &traced].concat(), Stage::Evaluation),
        ([&begun[..], &failed, &over, &error].concat(), Stage::Build),
        // It could not even be begun.
        ([&begun[..], &over, &error].concat(), Stage::Build),
        (error.to_vec(), Stage::Evaluation),
    ] {
        let mut log = new_log(dir.path());
        read(&mut log, lines.iter().copied());
        assert_eq!(log.stage(), stage, "{lines:?}");
        assert_eq!(log.error().unwrap(), "error: no");
    }
}

#[test]
fn a_message_that_came_in_pieces_is_one_and_one_without_an_end_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = new_log(dir.path());
    let message =
        format!(r#"@nix {{"action":"msg","level":0,"msg":"error: {}","raw_msg":"long"}}"#, "x".repeat(200_000));
    let (a, rest) = message.split_at(65_536);
    let (b, c) = rest.split_at(65_536);
    assert_eq!(log.line(Stream::Stderr, a, true), None);
    assert_eq!(log.line(Stream::Stderr, b, true), None);
    assert_eq!(log.line(Stream::Stderr, c, false).unwrap().len(), 200_007);
    assert_eq!(log.error().unwrap(), "error: long");
    let piece = format!("@nix {}", "y".repeat(65_000));
    for _ in 0..200 {
        assert_eq!(log.line(Stream::Stderr, &piece, true), None);
    }
    assert_eq!(log.line(Stream::Stderr, "end", false), None);
    assert_eq!(log.line(Stream::Stderr, "a line of its own", false).as_deref(), Some("a line of its own"));
}

#[test]
fn a_tool_that_activates_says_itself_what_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = NixLog::of_activation(dir.path().join("progress.json"));
    assert!(!log.captures());
    assert_eq!(log.progress().phase, "activate");
    for line in SAMPLES[0].1[0].lines() {
        log.line(Stream::Stderr, line, false);
    }
    assert_eq!(log.progress().phase, "activate", "all realisations are over");
    let line = "restarting the following units: nginx.service";
    assert_eq!(log.line(Stream::Stderr, line, false).as_deref(), Some(line));
    log.finish();
    assert_eq!(log.progress().text, line);
    let written: ProgressRecord = crate::durable::read_json(&dir.path().join("progress.json")).unwrap().unwrap();
    assert_eq!(written, log.progress());
}

#[test]
fn progress_is_written_ten_times_a_second_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = new_log(dir.path());
    let (began, mut writes, mut last) = (Instant::now(), 0_u128, None);
    for _ in 0..50 {
        for line in SAMPLES[0].1[2].lines() {
            log.line(Stream::Stderr, line, false);
            let at = log.written.as_ref().map(|(at, _)| *at);
            writes += u128::from(at != last);
            last = at;
        }
    }
    assert!(writes <= 1 + began.elapsed().as_millis() / PAUSE.as_millis(), "{writes}");
}

#[test]
fn what_was_held_back_is_told_when_nix_falls_silent() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = new_log(dir.path());
    // A burst that ends with the start of a build that takes an hour.
    for line in SAMPLES[0].1[0].lines().take(60) {
        log.line(Stream::Stderr, line, false);
    }
    std::thread::sleep(PAUSE);
    log.tick();
    assert_eq!(log.written.as_ref().unwrap().1, log.progress());
}

#[test]
fn store_paths_are_shown_as_names() {
    for (path, name) in [
        ("/nix/store/abc123-curl-8.2.0.drv", "curl-8.2.0"),
        ("/nix/store/abc123-nixos-system-h1", "nixos-system-h1"),
        ("odd", "odd"),
    ] {
        assert_eq!(package(path), name);
    }
}

/// A line as nix might write it, with few ids, so that they meet.
fn any_line() -> impl Strategy<Value = String> {
    let number = prop_oneof![0..6_u64, Just(u64::MAX)];
    let kind = prop_oneof![100..109_u64, 0..3_u64];
    prop_oneof![
        4 => (0..4_u64, kind.clone()).prop_map(|(id, kind)| {
            format!(r#"@nix {{"action":"start","id":{id},"level":3,"text":"x","type":{kind},"fields":["/nix/store/a-b.drv"]}}"#)
        }),
        6 => (0..4_u64, kind, proptest::collection::vec(number, 0..5)).prop_map(|(id, kind, fields)| {
            format!(r#"@nix {{"action":"result","id":{id},"type":{kind},"fields":{fields:?}}}"#)
        }),
        2 => (0..4_u64).prop_map(|id| format!(r#"@nix {{"action":"stop","id":{id}}}"#)),
        1 => "[ -~]{0,30}".prop_map(|text| format!("@nix {text}")),
        1 => "\\PC{0,30}",
        1 => (0..5_u64, "[a-z:\n]{0,20}").prop_map(|(level, msg)| {
            serde_json::json!({ "action": "msg", "level": level, "msg": msg }).to_string().replacen('{', "@nix {", 1)
        }),
        1 => Just(r#"@nix {"action":"start","id":-1,"type":"x"}"#.to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn whatever_comes_progress_never_goes_back_and_nothing_breaks(lines in proptest::collection::vec(any_line(), 0..120)) {
        let dir = tempfile::tempdir().unwrap();
        for mut log in [new_log(dir.path()), NixLog::of_activation(dir.path().join("progress.json"))] {
            read(&mut log, lines.iter().map(String::as_str));
            log.finish();
            let _ = (log.stage(), log.error(), log.downloaded());
        }
    }
}

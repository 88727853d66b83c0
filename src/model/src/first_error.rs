//! Which line of a log to look at first when its command failed: the first one that says what went wrong, in the part
//! of the log that failed.
//!
//! A log has parts: the agent's note of a program (`$ nixos-rebuild …`) or of a test (`test 2 of 7: …`) begins one.
//! Programs follow each other only while they succeed, so the last one failed; tests all run, so the first one that
//! is noted as `FAILED` counts. Within the part the first line that reads as an error is it, else its first line on
//! the stream for errors, else the agent's own last word.

use nixfleet_protocol::agent::Stream;

/// How lines begin that say what went wrong.
const BEGINNINGS: [&str; 15] = [
    "error:",
    "error[",
    "fatal:",
    "panic:",
    "failed to start ",
    "failed assertions:",
    "job for ",
    "not ok ",
    "✗ ",
    "✘ ",
    "--- fail:",
    "traceback (most recent call last)",
    "make: ***",
    "npm err!",
    "the option `",
];

/// What lines have within that say what went wrong.
const WITHIN: [&str; 7] = [
    ": error:",
    ": fatal error:",
    "' failed with exit code",
    "' failed to build",
    "]: failed to start ",
    "' panicked at ",
    ": failed with result '",
];

/// One of these is in each of them, so that the other lines, a million perhaps, are passed quickly.
const STEMS: [&str; 5] = ["rror:", "RROR:", "ailed ", "AILED ", "anicked "];

/// Goes through the lines of a log, in order.
#[derive(Clone, Debug, Default)]
pub struct FirstError {
    /// In a test that failed; nothing after it matters.
    failed_test: Option<u64>,
    /// In this part: the first line that reads as an error.
    error: Option<u64>,
    /// In this part: the first line on the stream for errors.
    stderr: Option<u64>,
    /// The last note.
    note: Option<u64>,
}

impl FirstError {
    /// The next line, without colours.
    pub fn take(&mut self, line: u64, stream: Stream, text: &str) {
        match stream {
            Stream::Note => self.take_note(line, text),
            Stream::Mark => {}
            Stream::Stdout | Stream::Stderr => {
                if self.error.is_none() && is_error(text) {
                    self.error = Some(line);
                }
                if stream == Stream::Stderr && !text.trim().is_empty() {
                    self.stderr.get_or_insert(line);
                }
            }
        }
    }

    fn take_note(&mut self, line: u64, text: &str) {
        let begins = text.starts_with("$ ") || text.starts_with("test ");
        if begins || text.starts_with("passed ") {
            (self.error, self.stderr) = (None, None);
        } else if text.starts_with("FAILED ") {
            let within = self.error.take().or(self.stderr.take()).unwrap_or(line);
            self.failed_test.get_or_insert(within);
        }
        if !begins {
            self.note = Some(line);
        }
    }

    /// The line to look at first.
    pub fn line(&self) -> Option<u64> {
        self.failed_test.or(self.error).or(self.stderr).or(self.note)
    }
}

/// Whether a line reads as an error. What a builder prints stands behind its name: `openssl> error: …`.
fn is_error(text: &str) -> bool {
    let text = match text.split_once("> ") {
        Some((name, rest)) if !name.is_empty() && !name.contains(' ') => rest,
        Some(_) | None => text,
    };
    let text = text.trim_start();
    let begins = |with: &str| text.get(..with.len()).is_some_and(|part| part.eq_ignore_ascii_case(with));
    if begins("warning:") || begins("job for ") && !text.contains(" failed") {
        return false;
    }
    if BEGINNINGS.iter().any(|with| begins(with)) {
        return true;
    }
    if !STEMS.iter().any(|stem| text.contains(stem)) {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    WITHIN.iter().any(|with| lower.contains(with))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as `o text`, with the letter of their stream; the one that is expected begins with `!`.
    fn check(what: &str, log: &str) {
        let (mut first, mut expected) = (FirstError::default(), None);
        for (line, number) in log.lines().map(str::trim_start).zip(1..) {
            let text = line.strip_prefix('!').inspect(|_| expected = Some(number)).unwrap_or(line);
            let (letter, text) = text.split_at(1);
            let stream = match letter {
                "o" => Stream::Stdout,
                "e" => Stream::Stderr,
                "n" => Stream::Note,
                _ => Stream::Mark,
            };
            first.take(number, stream, text.strip_prefix(' ').unwrap_or(text));
        }
        assert_eq!(first.line(), expected, "{what}");
    }

    #[test]
    fn the_line_that_says_what_went_wrong_is_found() {
        for (what, log) in [
            ("nothing was printed", ""),
            ("all on stdout, no error", "o building\no done"),
            (
                "nix, evaluation",
                "n $ nix build\ne evaluating…\n!e error: attribute 'nixosConfigurations' missing\ne error: again",
            ),
            (
                "nix, a builder: its own error comes first",
                "e building '/nix/store/x-openssl.drv'...\ne openssl> checking for gcc\n!e openssl> main.c:12:5: error: no such function\ne error: builder for '/nix/store/x-openssl.drv' failed with exit code 1;",
            ),
            (
                "nix, a builder that says nothing itself",
                "e openssl> Running phase: patchPhase\n!e error: builder for '/nix/store/x.drv' failed with exit code 1;\ne error: 1 dependencies of derivation 'y.drv' failed to build",
            ),
            (
                "activation: a unit",
                "e activating the configuration...\ne setting up /etc...\n!e Failed to start nginx.service: Unit has a bad setting.\ne warning: the following units failed: nginx.service",
            ),
            (
                "systemd's words",
                "e starting\n!e Job for nginx.service failed because the control process exited.\ne error: x",
            ),
            ("the journal's words", "o a\n!o Nov 21 hsb0 systemd[1]: Failed to start Web server.\n"),
            ("git", "n $ git fetch\ne From https://git.example\n!e fatal: couldn't find remote ref main"),
            ("rust", "o    Compiling a\n!o error[E0425]: cannot find value\no error: could not compile"),
            ("case does not matter", "o a\n!o ERROR: no space"),
            ("a warning about errors is none", "o warning: error: is deprecated\n!e other"),
            ("a word within is none", "o 0 errors: fine\no an error occurred in 0 tests"),
        ] {
            check(what, log);
        }
    }

    #[test]
    fn the_part_that_failed_counts() {
        for (what, log) in [
            (
                "what came before went well, whatever it printed",
                "n $ git fetch\ne error: not really\nn $ nixos-rebuild switch\no fine\n!e something odd",
            ),
            ("no error line: the first on stderr of the last program", "n $ a\ne x\nn $ b\no y\n!e z\ne zz"),
            ("an empty line is no error", "n $ b\ne \n!e z"),
            ("nothing but the agent's own word", "n $ b\no y\n!n the time limit is over"),
            ("the last word of them", "n waiting\nn $ b\n!n the checkout has no executable switch"),
            ("an old agent has no notes", "o a\n!e b\ne c"),
        ] {
            check(what, log);
        }
    }

    #[test]
    fn the_first_test_that_failed_counts() {
        for (what, log) in [
            (
                "its error, not that of one that passed",
                "n test 1 of 3: 10\no error: expected\nn passed 10 (5 ms)\nn test 2 of 3: 20\no a\n!e restic is not installed\nn FAILED 20 (7 ms)\nn test 3 of 3: 30\ne error: too\nn FAILED 30 (1 ms)",
            ),
            (
                "a line that reads as an error wins over stderr",
                "n test 1 of 1: 10\ne set -x\n!o not ok 1 - backup\nn FAILED 10 (5 ms)",
            ),
            ("it printed nothing", "n test 1 of 2: 10\nn passed 10 (5 ms)\nn test 2 of 2: 20\n!n FAILED 20 (5 ms)"),
        ] {
            check(what, log);
        }
    }
}

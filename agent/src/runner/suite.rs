//! Runs a host's tests: each on its own, all of them, whatever the others do. The run passes when each one passed.

use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::execution::{Execution, Verdict};
use super::process::End;
use crate::ops::step::TestCase;
use crate::record::{ProgressRecord, Stage};

/// Names of more failed tests than this are not listed in the sentence.
const NAMED: usize = 5;
/// Results beyond this many are left out of the details, which must fit into one message.
const REPORTED: usize = 400;

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// Name of its file.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// Its exit code; 124 when it took too long, 127 when it could not be started.
    pub exit_code: i32,
    /// How long it took.
    pub duration_ms: u64,
}

/// Runs the tests. Gives what is wrong, if anything, and the sentence for people; a stop is an error.
pub async fn run(execution: &mut Execution<'_>, cases: &[TestCase]) -> Result<(Option<Verdict>, String), Verdict> {
    let mut results: Vec<TestResult> = Vec::with_capacity(cases.len());
    for (case, number) in cases.iter().zip(1..) {
        execution.progress(&ProgressRecord {
            phase: "test".into(),
            done: Some(number - 1),
            expected: Some(cases.len() as u64),
            text: case.name.clone(),
            passed: Some(results.iter().filter(|result| result.ok).count() as u64),
        });
        execution.log.note(&format!("test {number} of {}: {}", cases.len(), case.name));
        let begun = Instant::now();
        let exit_code = match execution.program(&case.invocation, Stage::Tests, None).await {
            Ok(ended) => match ended.end {
                End::Exited(code) => code,
                End::TimedOut | End::Stopped => 124,
            },
            Err(verdict) if verdict.stage == Some(Stage::Stopped) => {
                execution.details = Some(details(&results, cases.len()));
                return Err(verdict);
            }
            Err(verdict) => {
                execution.log.note(&verdict.message);
                verdict.exit_code
            }
        };
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ok = exit_code == 0;
        execution.log.note(&format!("{} {} ({duration_ms} ms)", if ok { "passed" } else { "FAILED" }, case.name));
        results.push(TestResult { name: case.name.clone(), ok, exit_code, duration_ms });
    }
    execution.details = Some(details(&results, cases.len()));
    Ok(judge(&results))
}

fn details(results: &[TestResult], total: usize) -> serde_json::Value {
    let passed = results.iter().filter(|result| result.ok).count();
    json!({ "tests": &results[..results.len().min(REPORTED)], "passed": passed, "total": total })
}

/// The sentence, and what is wrong. Pure.
fn judge(results: &[TestResult]) -> (Option<Verdict>, String) {
    let failed: Vec<&str> = results.iter().filter(|result| !result.ok).map(|result| result.name.as_str()).collect();
    let total = results.len();
    if total == 0 {
        return (None, "no tests".into());
    }
    if failed.is_empty() {
        return (None, format!("{total} of {total} tests passed"));
    }
    let more = if failed.len() > NAMED { " …" } else { "" };
    let names = failed.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let message = format!("{} of {total} tests failed: {names}{more}", failed.len());
    (Some(Verdict::failed(1, Stage::Tests, message.clone())), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_the_run_wherever_it_stands() {
        let result = |name: &str, ok| TestResult { name: name.into(), ok, exit_code: 0, duration_ms: 1 };
        for (results, message, failed) in [
            (vec![], "no tests", false),
            (vec![result("a", true), result("b", true)], "2 of 2 tests passed", false),
            (vec![result("a", false), result("b", true)], "1 of 2 tests failed: a", true),
            (vec![result("a", true), result("b", false)], "1 of 2 tests failed: b", true),
        ] {
            let (verdict, said) = judge(&results);
            assert_eq!((said.as_str(), verdict.is_some()), (message, failed));
            assert!(verdict.is_none_or(|verdict| verdict.exit_code != 0));
        }
    }
}

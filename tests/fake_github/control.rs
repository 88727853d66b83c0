//! How tests steer the fake: faults on demand, and what people do at GitHub. From Rust by the methods of `steer.rs`;
//! from elsewhere by `POST /_/…` with the same words as JSON:
//!
//! ```text
//! /_/open    {branch, title, path, content, labels, draft, fork, base}   one that changes one file → {number}
//! /_/push    {path, content, subject, branch}                      somebody pushes → {commit}
//! /_/merge   {number}                                              somebody merges at GitHub → {commit}
//! /_/close   {number}
//! /_/fault   {fault: none|limit|secondary|broken|slow|drop|no-rights|lost-merge, seconds}
//! /_/protect {on}
//! /_/rules   {checks_fail, rebase_only}
//! /_/webhook {url, secret}
//! /_/asked                                                         requests so far → {count, counted, changes, come}
//! ```

use serde_json::{Value, json};

use super::server::{Fault, Inner};

/// What one word of a test does; nothing: it is none.
pub(crate) fn control(inner: &Inner, verb: &str, words: &Value) -> Option<Value> {
    let text = |name: &str| words[name].as_str().map(str::to_owned);
    let main = inner.setup.branch.clone();
    match verb {
        "open" => {
            let branch = text("branch")?;
            let title = text("title").unwrap_or_else(|| "flake.lock: Update".to_owned());
            let path = text("path").unwrap_or_else(|| "flake.lock".to_owned());
            let content = text("content").unwrap_or_else(|| format!("{{\"version\": 7, \"update\": \"{branch}\"}}\n"));
            inner.git.write(&branch, &main, &path, &content, &title);
            let labels = words["labels"].as_array().map_or_else(Vec::new, |labels| {
                labels.iter().map(|label| label.as_str().unwrap().to_owned()).collect()
            });
            let on = |name: &str| words[name].as_bool().unwrap_or_default();
            let base = text("base").unwrap_or_else(|| main.clone());
            if inner.git.branch(&base).is_none() {
                inner.git.set_branch(&base, &inner.git.branch(&main)?);
            }
            let number = inner.state().add_pull(&branch, &title, &base, labels, on("draft"), on("fork"));
            inner.tell("pull_request", json!({ "action": "opened", "number": number }));
            Some(json!({ "number": number }))
        }
        "push" => {
            let branch = text("branch").unwrap_or_else(|| main.clone());
            let subject = text("subject").unwrap_or_else(|| "a push".to_owned());
            let commit = inner.git.write(&branch, &main, &text("path")?, &text("content")?, &subject);
            inner.moved(&branch);
            Some(json!({ "commit": commit }))
        }
        "merge" => {
            let commit = inner.merge(words["number"].as_u64()?, "merge").ok()?;
            Some(json!({ "commit": commit }))
        }
        "close" => {
            let number = words["number"].as_u64()?;
            inner.state().pull(number)?.open = false;
            inner.tell("pull_request", json!({ "action": "closed", "number": number }));
            Some(json!({}))
        }
        "fault" => {
            let seconds = words["seconds"].as_u64().unwrap_or(3600);
            inner.state().fault = match words["fault"].as_str()? {
                "none" => Fault::None,
                "limit" => Fault::Limit { seconds },
                "secondary" => Fault::Secondary { seconds },
                "broken" => Fault::Broken,
                "slow" => Fault::Slow { seconds },
                "drop" => Fault::Drop,
                "no-rights" => Fault::NoRights,
                "lost-merge" => Fault::LostMerge,
                _ => return None,
            };
            Some(json!({}))
        }
        "protect" => {
            inner.state().rules.protected = words["on"].as_bool()?;
            Some(json!({}))
        }
        "rules" => {
            let on = |name: &str| words[name].as_bool().unwrap_or_default();
            let rules = &mut inner.state().rules;
            (rules.checks_fail, rules.rebase_only) = (on("checks_fail"), on("rebase_only"));
            Some(json!({}))
        }
        "webhook" => {
            inner.state().webhook = text("url").zip(text("secret"));
            Some(json!({}))
        }
        "asked" => {
            let state = inner.state();
            Some(
                json!({ "count": state.asked, "counted": state.counted, "changes": state.changes, "come": state.come }),
            )
        }
        _ => None,
    }
}

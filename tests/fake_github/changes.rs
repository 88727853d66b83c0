//! What changes something at the fake: merges, commits, references, pull requests.

use nixfleet_protocol::Time;
use serde_json::json;

use super::git::Who;
use super::server::{Inner, Rules};
use super::wire::{Reply, Request, refuse, reply};

impl Inner {
    /// A change, answered as GitHub does.
    pub(crate) fn change(&self, path: &str, request: &Request) -> Reply {
        let (parts, body): (Vec<&str>, _) = (path.trim_start_matches('/').split('/').collect(), &request.body);
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let is_main = |name: &str| name == self.setup.branch;
        let Rules { protected, rebase_only, .. } = self.state().rules;
        match (request.method.as_str(), parts.as_slice()) {
            ("PUT", ["pulls", number, "merge"]) => {
                let Ok(number) = number.parse() else { return refuse(404, "Not Found") };
                if let Some(refused) = self.may_merge(number, &text("sha"), protected) {
                    return refused;
                }
                match text("merge_method").as_str() {
                    "merge" if rebase_only => return refuse(405, "Merge commits are not allowed on this repository."),
                    "squash" if rebase_only => return refuse(405, "Squash merges are not allowed on this repository."),
                    _ => {}
                }
                match self.merge(number, &text("merge_method")) {
                    Ok(sha) => reply(
                        200,
                        &json!({ "sha": sha, "merged": true, "message": "Pull Request successfully merged" }),
                    ),
                    Err(words) => refuse(405, words),
                }
            }
            ("POST", ["git", "commits"]) => {
                let who = &body["author"];
                let part = |name: &str| who[name].as_str().unwrap_or_default().to_owned();
                let date = part("date").split('.').next().unwrap().trim_end_matches('Z').to_owned() + "+00:00";
                let who = Who { name: part("name"), email: part("email"), date: Some(date) };
                let parents: Vec<&str> =
                    body["parents"].as_array().unwrap().iter().map(|parent| parent.as_str().unwrap()).collect();
                let sha = self.git.commit_tree(&text("tree"), &parents, &text("message"), &who);
                reply(201, &json!({ "sha": sha }))
            }
            ("POST", ["git", "refs"]) => {
                let name = text("ref").trim_start_matches("refs/heads/").to_owned();
                if self.git.branch(&name).is_some() {
                    return refuse(422, "Reference already exists");
                }
                self.git.set_branch(&name, &text("sha"));
                reply(201, &json!({ "ref": text("ref") }))
            }
            ("PATCH", ["git", "refs", "heads", name @ ..]) => {
                let name = name.join("/");
                let Some(old) = self.git.branch(&name) else { return refuse(422, "Reference does not exist") };
                if protected && is_main(&name) {
                    return refuse(422, "Changes must be made through a pull request.");
                }
                if body["force"] != true && !self.git.is_ancestor(&old, &text("sha")) {
                    return refuse(422, "Update is not a fast forward");
                }
                self.git.set_branch(&name, &text("sha"));
                self.moved(&name);
                reply(200, &json!({ "ref": name }))
            }
            ("DELETE", ["git", "refs", "heads", name @ ..]) => {
                if self.git.delete_branch(&name.join("/")) {
                    Reply { status: 204, headers: Vec::new(), body: Vec::new() }
                } else {
                    refuse(422, "Reference does not exist")
                }
            }
            ("POST", ["merges"]) => {
                let (base, head) = (text("base"), text("head"));
                let ends = (self.git.branch(&base), self.git.branch(&head).or_else(|| self.git.commit(&head)));
                let (Some(ours), Some(theirs)) = ends else { return refuse(404, "Head does not exist") };
                if protected && is_main(&base) {
                    return refuse(409, "Changes must be made through a pull request.");
                }
                if self.git.is_ancestor(&theirs, &ours) {
                    return Reply { status: 204, headers: Vec::new(), body: Vec::new() };
                }
                let Some(tree) = self.git.merged_tree(&ours, &theirs) else { return refuse(409, "Merge conflict") };
                let sha = self.git.commit_tree(&tree, &[&ours, &theirs], &text("commit_message"), &Who::github());
                self.git.set_branch(&base, &sha);
                self.moved(&base);
                reply(201, &json!({ "sha": sha }))
            }
            ("POST", ["pulls"]) => {
                let number =
                    self.state().add_pull(&text("head"), &text("title"), &text("base"), Vec::new(), false, false);
                let html = format!("{}/{}/pull/{number}", self.url, self.setup.repository);
                reply(201, &json!({ "number": number, "html_url": html }))
            }
            _ => refuse(404, "Not Found"),
        }
    }

    fn may_merge(&self, number: u64, shown: &str, protected: bool) -> Option<Reply> {
        let mut state = self.state();
        let Some(pull) = state.pull(number) else { return Some(refuse(404, "Not Found")) };
        if !pull.open || pull.draft {
            return Some(refuse(405, "Pull Request is not mergeable"));
        }
        if !shown.is_empty() && pull.head(&self.git).as_deref() != Some(shown) {
            return Some(refuse(409, "Head branch was modified. Review and try the merge again."));
        }
        protected.then(|| refuse(405, "At least 1 approving review is required by reviewers with write access."))
    }

    /// Merges, whoever wants it; the commit, or why not.
    pub(crate) fn merge(&self, number: u64, method: &str) -> Result<String, &'static str> {
        let pull = self.state().pull(number).cloned().ok_or("Not Found")?;
        let base = self.git.branch(&pull.base).ok_or("Not Found")?;
        let head = pull.head(&self.git).ok_or("Not Found")?;
        let tree = self.git.merged_tree(&base, &head).ok_or("Pull Request is not mergeable")?;
        let (parents, message) = if method == "squash" {
            (vec![base.as_str()], format!("{} (#{number})", pull.title))
        } else {
            (
                vec![base.as_str(), head.as_str()],
                format!("Merge pull request #{number} from {}\n\n{}", pull.branch, pull.title),
            )
        };
        let made = self.git.commit_tree(&tree, &parents, &message, &Who::github());
        self.git.set_branch(&pull.base, &made);
        {
            let mut state = self.state();
            let pull = state.pull(number).unwrap();
            (pull.open, pull.merged, pull.last_head) = (false, Some((made.clone(), Time::now())), Some(head));
        }
        self.tell("pull_request", json!({ "action": "closed", "number": number }));
        self.moved(&pull.base);
        Ok(made)
    }
}

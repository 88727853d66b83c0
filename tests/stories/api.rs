//! The API as a stranger speaks it: one request, one answer, or nothing while the daemon is away.

use std::time::Duration;

use serde_json::Value;

use crate::fleet::ADMIN;

/// Where the API is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Api {
    port: u16,
}

impl Api {
    /// On this port of this machine.
    pub(crate) const fn at(port: u16) -> Self {
        Self { port }
    }

    /// One GET.
    pub(crate) fn get(self, path: &str) -> Option<(u16, Value)> {
        self.json("GET", path, None)
    }

    /// One POST.
    pub(crate) fn post(self, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.json("POST", path, Some(body))
    }

    fn json(self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let (status, body) = self.text(method, path, body)?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
    }

    /// One request, answered as text.
    pub(crate) fn text(self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, String)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .into();
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let mut answer = match (method, body) {
            ("POST", Some(body)) => {
                agent.post(&url).header("Authorization", &format!("Bearer {ADMIN}")).send_json(body)
            }
            ("DELETE", _) => agent.delete(&url).header("Authorization", &format!("Bearer {ADMIN}")).call(),
            _ => agent.get(&url).header("Authorization", &format!("Bearer {ADMIN}")).call(),
        }
        .ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.body_mut().with_config().limit(512 << 20).read_to_string().ok()?))
    }
}

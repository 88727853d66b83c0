//! The pages without a session: login, and what people see when something is not there or went wrong.

use askama::Template;

use super::{html, shell};

/// What the login page shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoginPage<'a> {
    /// For the form field `csrf_token`.
    pub csrf_token: &'a str,
    /// Whether the field for the code is there.
    pub totp: bool,
    /// Why the last attempt failed, in a sentence that does not tell which part was wrong.
    pub error: Option<&'a str>,
}

/// What an error page shows.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPage<'a> {
    /// The HTTP status.
    pub status: u16,
    /// What happened, in a few words.
    pub title: &'a str,
    /// What happened, to what, and what to do.
    pub detail: &'a str,
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    head: String,
    csrf_token: &'a str,
    totp: bool,
    error: &'a str,
}

/// The page `/login`.
pub fn login_page(page: LoginPage<'_>) -> String {
    html(&Login {
        head: shell::head(false),
        csrf_token: page.csrf_token,
        totp: page.totp,
        error: page.error.unwrap_or_default(),
    })
}

#[derive(Template)]
#[template(path = "error.html")]
struct Error<'a> {
    head: String,
    page: ErrorPage<'a>,
}

/// A page that says what went wrong.
pub fn error_page(page: ErrorPage<'_>) -> String {
    html(&Error { head: shell::head(false), page })
}

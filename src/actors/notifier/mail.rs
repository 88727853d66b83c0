//! E-mail over SMTP, by lettre: one connection for one letter.

use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use nixfleet_model::notify::{Failure, Letter};
use nixfleet_protocol::text::plain_cut;

use super::sending::{cut, failure};
use crate::config::{MailConfig, MailTls};
use crate::http_client::innermost;

/// Characters of a subject.
const SUBJECT: usize = 200;
/// Characters of a server's words that are shown.
const SAID: usize = 300;

pub(super) async fn send(mail: &MailConfig, letter: &Letter, within: Duration) -> Result<(), Failure> {
    let message = message(mail, letter)?;
    let parameters = || TlsParameters::new(mail.host.clone()).map_err(|error| failure(innermost(&error)));
    let tls = match mail.tls {
        MailTls::Implicit => Tls::Wrapper(parameters()?),
        MailTls::StartTls => Tls::Required(parameters()?),
        MailTls::Plain => Tls::None,
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(mail.host.clone())
        .port(mail.port)
        .tls(tls)
        .timeout(Some(within));
    if let Some(user) = &mail.user {
        let password = mail.password.as_ref().map_or("", |password| password.expose());
        transport = transport.credentials(Credentials::new(user.clone(), password.to_owned()));
    }
    match transport.build().send(message).await {
        Ok(_) => Ok(()),
        Err(error) => {
            // A login that is refused is not the letter's fault, and neither is a mailbox that is full for now.
            let code = error.status().map(|code| code.to_string());
            let refused = matches!(code.as_deref(), Some("552" | "554"));
            Err(Failure { why: plain_cut(&innermost(&error), SAID), retry_after: None, refused })
        }
    }
}

fn message(mail: &MailConfig, letter: &Letter) -> Result<Message, Failure> {
    let domain = mail.from.email.domain();
    let mut builder = Message::builder()
        .from(mail.from.clone())
        .subject(cut(&letter.title, SUBJECT))
        // The same in each attempt: a mailbox that has it shows it once.
        .message_id(Some(format!("<{}@{domain}>", letter.id)))
        .header(ContentType::TEXT_PLAIN)
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    for to in &mail.to {
        builder = builder.to(to.clone());
    }
    let mut text = if letter.text.is_empty() { letter.title.clone() } else { letter.text.clone() };
    if let Some(url) = &letter.url {
        text.push_str("\n\n");
        text.push_str(url);
    }
    text.push('\n');
    builder.body(text).map_err(|error| failure(innermost(&error)))
}

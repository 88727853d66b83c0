//! E-mail over SMTP, by lettre: one connection for one letter. Where a server refuses it, each recipient is asked for
//! alone: one address that is gone keeps no letter from the others.

use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message};
use nixfleet_model::notify::{Failure, Letter, Taken};
use nixfleet_protocol::text::plain_cut;

use super::sending::{cut, failure};
use crate::config::{MailConfig, MailTls};
use crate::http_client::innermost;

/// Characters of a subject.
const SUBJECT: usize = 200;
/// Characters of a server's words that are shown.
const SAID: usize = 300;

/// How often a letter waits for a recipient whom the server would not take just then; the others have it after that.
const PATIENCE: u32 = 3;

pub(super) async fn send(mail: &MailConfig, letter: &Letter, within: Duration) -> Result<Taken, Failure> {
    let bytes = message(mail, letter)?.formatted();
    let to: Vec<Address> = mail.to.iter().map(|to| to.email.clone()).collect();
    let error = match deliver(mail, to.clone(), &bytes, within).await? {
        Ok(()) => return Ok(Taken::default()),
        Err(error) => error,
    };
    // A server refuses all for one whom it does not know. Only its word about a recipient leaves that one out.
    if error.status().is_none() {
        return Err(failed(&error, false));
    }
    let Asked { taken, refused, not_now } = ask_for_each(mail, to, within).await?;
    if refused.is_empty() && not_now.is_empty() || !not_now.is_empty() && letter.tries < PATIENCE {
        // It was the letter itself, or is worth another attempt.
        let code = error.status().map(|code| code.to_string());
        return Err(failed(&error, not_now.is_empty() && matches!(code.as_deref(), Some("552" | "554"))));
    }
    if taken.is_empty() {
        return Err(failed(&error, not_now.is_empty()));
    }
    match deliver(mail, taken, &bytes, within).await? {
        Ok(()) => Ok(Taken { left_out: refused.into_iter().chain(not_now).collect() }),
        Err(error) => Err(failed(&error, false)),
    }
}

fn failed(error: &SmtpError, refused: bool) -> Failure {
    Failure { why: plain_cut(&innermost(error), SAID), retry_after: None, refused }
}

/// A connection of its own for one letter; the failure of `Failure` is before anything was said.
async fn connect(mail: &MailConfig, within: Duration) -> Result<AsyncSmtpConnection, Failure> {
    let parameters = || TlsParameters::new(mail.host.clone()).map_err(|error| failure(innermost(&error)));
    let me = ClientId::default();
    let implicit = match mail.tls {
        MailTls::Implicit => Some(parameters()?),
        MailTls::StartTls | MailTls::Plain => None,
    };
    let place = (mail.host.as_str(), mail.port);
    let said = |error: SmtpError| failed(&error, false);
    let mut server =
        AsyncSmtpConnection::connect_tokio1(place, Some(within), &me, implicit, None).await.map_err(said)?;
    if mail.tls == MailTls::StartTls {
        server.starttls(parameters()?, &me).await.map_err(said)?;
    }
    if let Some(user) = &mail.user {
        let password = mail.password.as_ref().map_or("", |password| password.expose());
        let credentials = Credentials::new(user.clone(), password.to_owned());
        // A login that is refused is not the letter's fault.
        server.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(said)?;
    }
    Ok(server)
}

/// One letter to all of these, or to none.
async fn deliver(
    mail: &MailConfig,
    to: Vec<Address>,
    bytes: &[u8],
    within: Duration,
) -> Result<Result<(), SmtpError>, Failure> {
    let envelope = Envelope::new(Some(mail.from.email.clone()), to).map_err(|error| failure(innermost(&error)))?;
    let mut server = connect(mail, within).await?;
    let outcome = server.send(&envelope, bytes).await;
    server.abort().await;
    Ok(outcome.map(drop))
}

/// What a server says of each recipient.
#[derive(Default)]
struct Asked {
    taken: Vec<Address>,
    /// Never: who, and its words.
    refused: Vec<String>,
    /// Not at this moment.
    not_now: Vec<String>,
}

/// Asks whom it would take; no letter is sent.
async fn ask_for_each(mail: &MailConfig, to: Vec<Address>, within: Duration) -> Result<Asked, Failure> {
    let mut server = connect(mail, within).await?;
    let said = |error: &SmtpError| failed(error, false);
    server.command(Mail::new(Some(mail.from.email.clone()), Vec::new())).await.map_err(|error| said(&error))?;
    let mut asked = Asked::default();
    for address in to {
        match server.command(Rcpt::new(address.clone(), Vec::new())).await {
            Ok(_) => asked.taken.push(address),
            Err(error) => {
                let code = error.status().ok_or_else(|| said(&error))?;
                let words = format!("{address}: {code} {}", plain_cut(&innermost(&error), SAID));
                if error.is_permanent() { asked.refused.push(words) } else { asked.not_now.push(words) }
            }
        }
    }
    server.abort().await;
    Ok(asked)
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

//! The fake GitHub as a program of its own: `cargo build --example fake-github`.
//!
//! ```text
//! fake-github BARE_REPOSITORY [--repo owner/name] [--listen 127.0.0.1:0] [--token T] [--webhook URL SECRET]
//! ```
//!
//! Prints one line of JSON when it listens: `{"url": …}`. Tests steer it by `POST /_/…`, see `control.rs`.

#![expect(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "a program of the tests")]

mod changes;
mod control;
mod git;
mod pulls;
mod server;
mod wire;

fn main() {
    let mut words = std::env::args().skip(1);
    let bare = words.next().unwrap_or_else(|| panic!("name the bare repository"));
    let mut setup = server::Setup::new(bare.into());
    let mut listen = "127.0.0.1:0".to_owned();
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--repo" => setup.repository = value(),
            "--listen" => listen = value(),
            "--token" => setup.token = Some(value()),
            "--webhook" => setup.webhook = Some((value(), value())),
            other => panic!("{other} is unknown"),
        }
    }
    let fake = server::Fake::start_at(setup, &listen);
    println!("{}", serde_json::json!({ "url": fake.url() }));
    loop {
        std::thread::park();
    }
}

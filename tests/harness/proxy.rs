//! The network between one agent and the daemon: a proxy that cuts, holds, delays and forgets.
//!
//! Two threads for each connection, one for each way. A listener that can't reach the daemon answers 502, as a
//! reverse proxy does.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// How often a pump looks at the weather.
const LOOK: Duration = Duration::from_millis(20);

/// How things are on the way.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// Nothing goes through.
    silent: bool,
    /// How late each piece comes.
    delay: Duration,
    /// Bytes in a second; none: all of them.
    rate: Option<u64>,
    /// The connections break when so many bytes more went through.
    cut_in: Option<u64>,
}

#[derive(Debug, Default)]
struct Shared {
    weather: Mutex<Weather>,
    pairs: Mutex<Vec<Weak<Pair>>>,
    closing: AtomicBool,
}

/// One connection through it.
#[derive(Debug)]
struct Pair {
    agent: TcpStream,
    daemon: TcpStream,
    /// The agent is cut off; the daemon hears of it at this moment.
    half_open: Mutex<Option<Instant>>,
}

impl Pair {
    fn is_half_open(&self) -> bool {
        self.half_open.lock().unwrap().is_some_and(|until| until > Instant::now())
    }

    fn cut(&self) {
        // One that is closed already is as good.
        let _ = self.agent.shutdown(Shutdown::Both);
        let _ = self.daemon.shutdown(Shutdown::Both);
    }
}

/// A proxy in front of the daemon.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where the agent finds it.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    /// Listens on an address of this machine for the daemon at `port`.
    pub(crate) fn start(ip: &str, port: u16) -> Self {
        let listener = TcpListener::bind(format!("{ip}:0")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let accepting = thread::spawn(move || accept(&listener, port, &accepting));
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Nothing goes through, until it is [`Self::fair`] again.
    pub(crate) fn silence(&self) {
        self.shared.weather.lock().unwrap().silent = true;
    }

    /// All goes through late and slowly.
    pub(crate) fn slow(&self, delay: Duration, rate: u64) {
        let mut weather = self.shared.weather.lock().unwrap();
        (weather.delay, weather.rate) = (delay, Some(rate));
    }

    /// The connections break in so many bytes.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.shared.weather.lock().unwrap().cut_in = Some(bytes);
    }

    /// The agent's connections break now, the daemon hears of it later.
    pub(crate) fn half_open(&self, for_ms: u64) {
        for pair in self.pairs() {
            *pair.half_open.lock().unwrap() = Some(Instant::now() + Duration::from_millis(for_ms));
            let _ = pair.agent.shutdown(Shutdown::Both);
        }
    }

    /// Whatever was wrong is over.
    pub(crate) fn fair(&self) {
        *self.shared.weather.lock().unwrap() = Weather::default();
    }

    /// The same, and half-open connections end.
    pub(crate) fn settle(&self) {
        self.fair();
        for pair in self.pairs() {
            let mut half_open = pair.half_open.lock().unwrap();
            if half_open.is_some() {
                *half_open = Some(Instant::now());
            }
        }
    }

    fn pairs(&self) -> Vec<Arc<Pair>> {
        self.shared.pairs.lock().unwrap().iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        for pair in self.pairs() {
            pair.cut();
        }
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

fn accept(listener: &TcpListener, port: u16, shared: &Arc<Shared>) {
    while !shared.closing.load(Ordering::Acquire) {
        let agent = match listener.accept() {
            Ok((agent, _)) => agent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(LOOK / 4);
                continue;
            }
            // The other side gave up before it was taken.
            Err(_) => continue,
        };
        agent.set_nonblocking(false).unwrap();
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(daemon) => connect(agent, daemon, shared),
            Err(_) => refuse(agent),
        }
    }
}

fn refuse(mut agent: TcpStream) {
    // An agent that is gone reads nothing.
    let _ = agent.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

fn connect(agent: TcpStream, daemon: TcpStream, shared: &Arc<Shared>) {
    for stream in [&agent, &daemon] {
        stream.set_read_timeout(Some(LOOK)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    let pair = Arc::new(Pair { agent, daemon, half_open: Mutex::new(None) });
    let mut pairs = shared.pairs.lock().unwrap();
    pairs.retain(|pair| pair.strong_count() > 0);
    pairs.push(Arc::downgrade(&pair));
    drop(pairs);
    for up in [true, false] {
        let (pair, shared) = (Arc::clone(&pair), Arc::clone(shared));
        thread::spawn(move || {
            pump(&pair, up, &shared);
            while pair.is_half_open() && !shared.closing.load(Ordering::Acquire) {
                thread::sleep(LOOK);
            }
            pair.cut();
        });
    }
}

/// Carries what comes one way, until one side is gone.
fn pump(pair: &Pair, up: bool, shared: &Shared) {
    let (mut from, mut to) = if up { (&pair.agent, &pair.daemon) } else { (&pair.daemon, &pair.agent) };
    let mut piece = vec![0; 4096];
    loop {
        let weather = *shared.weather.lock().unwrap();
        if shared.closing.load(Ordering::Acquire) {
            return;
        }
        if weather.silent {
            thread::sleep(LOOK);
            continue;
        }
        let count = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        let (count, cut) = until_cut(shared, count);
        let late = weather.rate.map_or(Duration::ZERO, |rate| Duration::from_millis(count as u64 * 1000 / rate));
        thread::sleep(weather.delay + late);
        if !write_all(&mut to, &piece[..count], shared) || cut {
            return;
        }
    }
}

/// How many of these bytes still go through, and whether the connection breaks behind them.
fn until_cut(shared: &Shared, count: usize) -> (usize, bool) {
    let mut weather = shared.weather.lock().unwrap();
    let Some(left) = weather.cut_in else { return (count, false) };
    let bytes = count as u64;
    if left < bytes {
        weather.cut_in = None;
        return (usize::try_from(left).unwrap(), true);
    }
    weather.cut_in = Some(left - bytes);
    (count, false)
}

/// Writes to one that may be frozen for a long time. `false`: it is gone.
fn write_all(to: &mut &TcpStream, mut bytes: &[u8], shared: &Shared) -> bool {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return false,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if shared.closing.load(Ordering::Acquire) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A daemon that takes one connection and tells what came on it.
    fn listener() -> (u16, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = thread::spawn(move || {
            let mut bytes = Vec::new();
            let (mut stream, _) = listener.accept().unwrap();
            // Whether it ends or breaks: what came before counts.
            let _ = stream.read_to_end(&mut bytes);
            String::from_utf8(bytes).unwrap()
        });
        (port, heard)
    }

    #[test]
    fn a_link_breaks_at_the_byte_that_was_named() {
        let (port, heard) = listener();
        let proxy = Proxy::start("127.0.0.1", port);
        proxy.cut_after(7);
        let mut link = TcpStream::connect(proxy.address).unwrap();
        link.write_all(b"0123456789").unwrap();
        assert_eq!(heard.join().unwrap(), "0123456");
        assert!(!matches!(link.read(&mut [0]), Ok(1..)), "for the agent it is over too");
    }

    #[test]
    fn who_can_not_be_reached_is_a_bad_gateway() {
        let proxy = Proxy::start("127.0.0.1", crate::fleet::free_port());
        let mut text = String::new();
        TcpStream::connect(proxy.address).unwrap().read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 502 "), "{text}");
    }
}

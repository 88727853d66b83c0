//! Sends magic packets: to the broadcast address, off the runtime's threads. A packet that gets lost is no error that
//! anyone could tell; each is sent a few times.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use nixfleet_model::wake::{Mac, magic_packet};

/// How often each packet is sent.
const TIMES: u32 = 3;
/// How long between two of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends the packets that wake these machines.
pub fn send(addresses: Vec<Mac>, to: SocketAddr) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = broadcast(&addresses, to) {
            tracing::warn!(%to, %error, "magic packets can't be sent");
        }
    });
}

fn broadcast(addresses: &[Mac], to: SocketAddr) -> io::Result<()> {
    let from =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)) };
    let socket = UdpSocket::bind(from)?;
    if to.is_ipv4() {
        socket.set_broadcast(true)?;
    }
    for time in 0..TIMES {
        if time > 0 {
            std::thread::sleep(PAUSE);
        }
        for address in addresses {
            socket.send_to(&magic_packet(*address), to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_packets_arrive() {
        let card = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        card.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        send(vec![[2, 0, 0, 0, 0, 1]], card.local_addr().unwrap());
        let mut packet = [0; 200];
        for _ in 0..TIMES {
            let length = card.recv(&mut packet).unwrap();
            assert_eq!(packet[..length], magic_packet([2, 0, 0, 0, 0, 1]));
        }
    }
}

//! Wake-on-LAN: hardware addresses, and the packet that wakes their machine.

/// A hardware address.
pub type Mac = [u8; 6];

/// The addresses among what an agent named; what is none, or names nobody, is left out.
pub fn addresses(texts: &[String]) -> Vec<Mac> {
    let mut all: Vec<Mac> = texts.iter().filter_map(|text| address(text)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// `aa:bb:cc:dd:ee:ff` or `AA-BB-CC-DD-EE-FF`.
fn address(text: &str) -> Option<Mac> {
    let mut mac = Mac::default();
    let mut parts = text.trim().split([':', '-']);
    for byte in &mut mac {
        let part =
            parts.next().filter(|part| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    // A group's address and the zero one belong to no machine.
    (parts.next().is_none() && mac != Mac::default() && mac[0] & 1 == 0).then_some(mac)
}

/// The magic packet: six bytes of ones, then the address 16 times.
pub fn magic_packet(mac: Mac) -> [u8; 102] {
    let mut packet = [0xff; 102];
    for place in packet[6..].chunks_exact_mut(6) {
        place.copy_from_slice(&mac);
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_a_machine_is_one() {
        for (text, good) in [
            ("aa:bb:cc:dd:ee:ff", true),
            ("AA-BB-CC-DD-EE-01", true),
            ("00:00:00:00:00:00", false),
            ("ff:ff:ff:ff:ff:ff", false),
            ("01:00:5e:00:00:01", false),
            ("aa:bb:cc:dd:ee", false),
            ("aa:bb:cc:dd:ee:ff:00", false),
            ("aa:bb:cc:dd:ee:+f", false),
            ("", false),
        ] {
            assert_eq!(address(text).is_some(), good, "{text:?}");
        }
    }

    #[test]
    fn the_packet_is_as_the_card_expects_it() {
        let packet = magic_packet([0xaa, 1, 2, 3, 4, 5]);
        assert_eq!(packet[..6], [0xff; 6]);
        assert_eq!(packet[6..12], [0xaa, 1, 2, 3, 4, 5]);
        assert_eq!(packet[96..], [0xaa, 1, 2, 3, 4, 5]);
    }
}

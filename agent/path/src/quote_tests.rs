//! Quotes as routers write them: cut as short as they may, with options, extensions and rewrites; and arbitrary bytes.

use proptest::prelude::*;

use super::*;
use crate::packet::{self, FlowEnds, Outer};

fn flow(v6: bool) -> FlowEnds {
    let (source, destination) = if v6 {
        ("2001:db8::1", "2001:db8::2")
    } else {
        ("192.0.2.1", "198.51.100.2")
    };
    FlowEnds {
        source: source.parse().expect("an address"),
        source_port: 24_001,
        destination: destination.parse().expect("an address"),
        destination_port: 443,
    }
}

/// A probe of each protocol as sent, behind its IP header.
fn probe(v6: bool, protocol: u8, token: u16) -> Vec<u8> {
    let ends = flow(v6);
    let payload = match protocol {
        PROTOCOL_TCP => packet::syn(ends, u32::from(token)).to_vec(),
        PROTOCOL_UDP => packet::udp(ends, token, 7).to_vec(),
        _ => packet::whole_echo_request(ends, token).to_vec(),
    };
    let outer = Outer {
        ttl: 1,
        protocol,
        identification: token,
        flow_label: 0x1234,
        dscp: 0,
    };
    packet::ip(ends, outer, &payload)
}

/// A time exceeded as a router writes it, quoting the whole of `quoted`.
fn error(v6: bool, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![if v6 { 3 } else { 11 }, 0, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    message
}

/// An extension structure with one object before the label stack.
fn extension(labels: &[u32], with_checksum: bool) -> Vec<u8> {
    let mut structure = vec![0x20, 0, 0, 0, 0, 8, 2, 1, 9, 9, 9, 9];
    let length = u16::try_from(labels.len() * 4 + 4).expect("short");
    structure.extend(length.to_be_bytes());
    structure.extend([1, 1]);
    structure.extend(labels.iter().flat_map(|label| label.to_be_bytes()));
    if with_checksum {
        let checksum = !folded_sum(&structure);
        structure[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    structure
}

/// A time exceeded with a quote padded to 128 bytes and an extension structure behind it.
fn extended(v6: bool, states_length: bool, structure: &[u8]) -> Vec<u8> {
    let mut quoted = probe(v6, PROTOCOL_TCP, 9);
    quoted.resize(128, 0);
    let mut message = error(v6, &quoted);
    if states_length {
        let (place, word) = if v6 { (4, 8) } else { (5, 4) };
        message[place] = 128 / word;
    }
    message.extend(structure);
    message
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![Just(PROTOCOL_TCP), Just(PROTOCOL_UDP), Just(0)]
}

/// Zero stands for the ICMP of the family.
fn of_family(v6: bool, protocol: u8) -> u8 {
    match (protocol, v6) {
        (0, true) => PROTOCOL_ICMP6,
        (0, false) => PROTOCOL_ICMP,
        (other, _) => other,
    }
}

proptest! {
    #[test]
    fn the_least_that_a_router_must_quote_is_enough(
        token in 1..u16::MAX, v6 in any::<bool>(), protocol in protocol(), options in 0usize..=10, cut in 8usize..=20,
    ) {
        let protocol = of_family(v6, protocol);
        let mut quoted = probe(v6, protocol, token);
        let header = if v6 { 40 } else { 20 };
        quoted.truncate(header + cut);
        if !v6 {
            quoted[0] = 0x45 + u8::try_from(options).expect("few");
            let after = quoted.split_off(20);
            quoted.extend(vec![0; options * 4]);
            quoted.extend(after);
        }
        let read = icmp_error(v6, &error(v6, &quoted)).expect("reads");
        let ends = flow(v6);
        prop_assert_eq!((read.token, read.protocol), (u32::from(token), protocol));
        prop_assert_eq!((read.source, read.destination), (ends.source, ends.destination));
        prop_assert_eq!(read.source_port, ends.source_port);
        prop_assert_eq!(read.ttl, 1);
        prop_assert!(is_time_exceeded(v6, read.icmp));
    }

    #[test]
    fn a_label_stack_is_read_wherever_routers_put_it(
        labels in prop::collection::vec(any::<u32>(), 1..8), v6 in any::<bool>(), states_length in any::<bool>(), sums in any::<bool>(),
    ) {
        let message = extended(v6, states_length, &extension(&labels, sums));
        let kept: Labels = labels.iter().copied().collect();
        prop_assert_eq!(label_stack(v6, &message), kept);
        prop_assert_eq!(icmp_error(v6, &message).map(|read| read.mpls), Some(kept));
    }

    #[test]
    fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), v6 in any::<bool>()) {
        let read = icmp_error(v6, &bytes);
        prop_assert!(read.is_none() || bytes.len() >= 36);
        prop_assert!(ip(&bytes).is_none() || bytes.len() >= 20);
        prop_assert!(label_stack(v6, &bytes).entries().len() <= MAX_LABELS);
    }

    #[test]
    fn bytes_changed_anywhere_are_no_panic(
        at in 0usize..200, value in any::<u8>(), cut in 0usize..200, v6 in any::<bool>(),
    ) {
        let mut message = extended(v6, true, &extension(&[1, 2], true));
        if let Some(byte) = message.get_mut(at) { *byte = value; }
        message.truncate(cut);
        let read = icmp_error(v6, &message);
        prop_assert!(read.is_none() || message.len() >= 36);
    }
}

#[test]
fn what_is_no_extension_is_no_label() {
    let mut wrong_sum = extension(&[7], true);
    wrong_sum[3] ^= 1;
    let mut version_1 = extension(&[7], false);
    version_1[0] = 0x10;
    let mut too_long = extension(&[7], false);
    too_long[12..14].copy_from_slice(&500_u16.to_be_bytes());
    let empty_object = vec![0x20, 0, 0, 0, 0, 0, 1, 1];
    for (name, structure) in [
        ("a wrong checksum", wrong_sum),
        ("another version", version_1),
        ("an object longer than the message", too_long),
        ("an object shorter than its header", empty_object),
        ("nothing", Vec::new()),
    ] {
        let message = extended(false, true, &structure);
        assert_eq!(label_stack(false, &message), Labels::default(), "{name}");
        assert!(icmp_error(false, &message).is_some(), "{name}");
    }
}

#[test]
fn what_a_nat_rewrote_is_told() {
    let sent = Sent {
        protocol: PROTOCOL_TCP,
        source: "192.0.2.1".parse().expect("an address"),
        source_port: 24_001,
        destination: "198.51.100.2".parse().expect("an address"),
        destination_port: 443,
        checksum: None,
        identification: 9,
    };
    let read = icmp_error(false, &error(false, &probe(false, PROTOCOL_TCP, 9))).expect("reads");
    assert_eq!(read.rewrites(&sent), Rewrites::default());
    let behind_nat = Quoted {
        source: "203.0.113.9".parse().expect("an address"),
        source_port: 1_024,
        identification: 10,
        ..read
    };
    assert_eq!(behind_nat.rewrites(&sent).bits(), 1 | 2 | 16);
    let redirected = Quoted {
        destination: "203.0.113.9".parse().expect("an address"),
        destination_port: 8_443,
        ..read
    };
    assert_eq!(redirected.rewrites(&sent).bits(), 4 | 8);
    assert_eq!(Quoted { ttl: 3, ..read }.odd_ttl(), 3);
    assert_eq!(read.odd_ttl(), 0);
}

#[test]
fn other_messages_are_nothing() {
    let quoted = probe(false, PROTOCOL_TCP, 7);
    let mut reply = error(false, &quoted);
    reply[0] = 0;
    assert_eq!(icmp_error(false, &reply), None, "echo reply");
    assert_eq!(
        icmp_error(true, &error(true, &quoted)),
        None,
        "IPv4 in ICMPv6"
    );
    let other = probe(false, PROTOCOL_TCP, 7);
    let mut gre = other;
    gre[9] = 47;
    assert_eq!(
        icmp_error(false, &error(false, &gre)),
        None,
        "another protocol"
    );
}

//! Recordings made by rule, for tests and benchmarks: BGP updates, wrapped as MRT records, BMP messages or RIS Live messages.

use ipnet::IpNet;

/// A BGP UPDATE (RFC 4271 §4.3) with four-octet AS numbers; IPv6 prefixes go into multiprotocol attributes (RFC 4760).
pub fn update(path: &[u32], announced: &[IpNet], withdrawn: &[IpNet]) -> Vec<u8> {
    let of = |nets: &[IpNet], six: bool| -> Vec<u8> {
        nets.iter()
            .filter(|net| matches!(net, IpNet::V6(_)) == six)
            .flat_map(nlri)
            .collect()
    };
    let mut attributes = Vec::new();
    if !announced.is_empty() {
        attributes.extend([0x40, 1, 1, 0]);
        let mut segment = vec![2, octet(path.len())];
        segment.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
        attribute(&mut attributes, 0x40, 2, &segment);
    }
    let (reach, unreach) = (of(announced, true), of(withdrawn, true));
    if !of(announced, false).is_empty() {
        attribute(&mut attributes, 0x40, 3, &[192, 0, 2, 1]);
    }
    if !reach.is_empty() {
        let mut value = vec![
            0, 2, 1, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
        ];
        value.extend(reach);
        attribute(&mut attributes, 0x80, 14, &value);
    }
    if !unreach.is_empty() {
        let mut value = vec![0, 2, 1];
        value.extend(unreach);
        attribute(&mut attributes, 0x80, 15, &value);
    }
    let mut body = Vec::new();
    lengthened(&mut body, &of(withdrawn, false));
    lengthened(&mut body, &attributes);
    body.extend(of(announced, false));
    message(2, &body)
}

/// A BGP message of this type.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend(
        u16::try_from(19 + body.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    message.push(kind);
    message.extend(body);
    message
}

/// A BGP OPEN with these capabilities (RFC 5492 §4), each as type, length, value.
pub fn open(asn: u16, capabilities: &[u8]) -> Vec<u8> {
    let mut body = vec![4];
    body.extend(asn.to_be_bytes());
    body.extend([0, 90, 192, 0, 2, 1]);
    if capabilities.is_empty() {
        body.push(0);
    } else {
        body.extend([octet(capabilities.len() + 2), 2, octet(capabilities.len())]);
        body.extend(capabilities);
    }
    message(1, &body)
}

/// An MRT record (RFC 6396 §4.4.3) of a BGP message from the peer `192.0.2.x`.
pub fn mrt(at: u32, peer: u8, asn: u32, message: &[u8]) -> Vec<u8> {
    let mut body = asn.to_be_bytes().to_vec();
    body.extend(64_512_u32.to_be_bytes());
    body.extend([0, 0, 0, 1, 192, 0, 2, peer, 192, 0, 2, 254]);
    body.extend(message);
    record(at, 16, 4, &body)
}

/// An MRT record of any kind.
pub fn record(at: u32, kind: u16, subkind: u16, body: &[u8]) -> Vec<u8> {
    let mut record = at.to_be_bytes().to_vec();
    record.extend(kind.to_be_bytes());
    record.extend(subkind.to_be_bytes());
    record.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    record.extend(body);
    record
}

/// The peer table of a `TABLE_DUMP_V2` (RFC 6396 §4.3.1): peers `192.0.2.x` with these ASes.
pub fn peer_table(at: u32, peers: &[(u8, u32)]) -> Vec<u8> {
    let mut body = vec![192, 0, 2, 254, 0, 0];
    body.extend(u16::try_from(peers.len()).unwrap_or(u16::MAX).to_be_bytes());
    for (peer, asn) in peers {
        body.extend([2, 192, 0, 2, *peer, 192, 0, 2, *peer]);
        body.extend(asn.to_be_bytes());
    }
    record(at, 13, 1, &body)
}

/// A prefix of a `TABLE_DUMP_V2` (RFC 6396 §4.3.2) and who has which path to it.
pub fn table_entry(at: u32, sequence: u32, prefix: &IpNet, routes: &[(u16, &[u32])]) -> Vec<u8> {
    let mut body = sequence.to_be_bytes().to_vec();
    body.extend(nlri(prefix));
    body.extend(
        u16::try_from(routes.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    for (peer, path) in routes {
        body.extend(peer.to_be_bytes());
        body.extend(at.to_be_bytes());
        let mut attributes = vec![0x40, 1, 1, 0];
        let mut segment = vec![2, octet(path.len())];
        segment.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
        attribute(&mut attributes, 0x40, 2, &segment);
        attribute(&mut attributes, 0x40, 3, &[192, 0, 2, 1]);
        lengthened(&mut body, &attributes);
    }
    record(
        at,
        13,
        if matches!(prefix, IpNet::V6(_)) { 4 } else { 2 },
        &body,
    )
}

/// A BMP message (RFC 7854 §4.1).
pub fn bmp(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![3];
    message.extend(
        u32::try_from(6 + body.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    message.push(kind);
    message.extend(body);
    message
}

/// A per-peer header (RFC 7854 §4.2) of the peer `192.0.2.x`.
pub fn bmp_peer(kind: u8, flags: u8, distinguisher: u64, peer: u8, asn: u32, at: u32) -> Vec<u8> {
    let mut header = vec![kind, flags];
    header.extend(distinguisher.to_be_bytes());
    header.extend([0; 12]);
    header.extend([192, 0, 2, peer]);
    header.extend(asn.to_be_bytes());
    header.extend([192, 0, 2, peer]);
    header.extend(at.to_be_bytes());
    header.extend([0; 4]);
    header
}

/// A peer up (RFC 7854 §4.10) with the two OPENs.
pub fn bmp_peer_up(header: &[u8], sent: &[u8], received: &[u8]) -> Vec<u8> {
    let mut body = header.to_vec();
    body.extend([0; 12]);
    body.extend([192, 0, 2, 254, 0, 179, 0x80, 0]);
    body.extend(sent);
    body.extend(received);
    bmp(3, &body)
}

/// A route monitoring message (RFC 7854 §4.6).
pub fn bmp_route(header: &[u8], update: &[u8]) -> Vec<u8> {
    bmp(0, &[header, update].concat())
}

fn nlri(net: &IpNet) -> Vec<u8> {
    let octets = match net {
        IpNet::V4(net) => net.network().octets().to_vec(),
        IpNet::V6(net) => net.network().octets().to_vec(),
    };
    let length = usize::from(net.prefix_len());
    let mut nlri = vec![net.prefix_len()];
    nlri.extend(octets.into_iter().take(length.div_ceil(8)));
    nlri
}

fn attribute(into: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    into.extend([flags | 0x10, kind]);
    lengthened(into, value);
}

fn lengthened(into: &mut Vec<u8>, value: &[u8]) {
    into.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    into.extend(value);
}

fn octet(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

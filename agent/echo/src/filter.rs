//! What a raw socket lets through: every raw socket gets a copy of all ICMP of the machine, and would wake us for it.

use socket2::SockFilter;

use crate::packet::Family;

// linux/bpf_common.h: instruction classes, sizes and modes, as `BPF_LD | BPF_B | BPF_IND` and so on.
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_HALF_AT_X: u16 = 0x48;
const X_IS_HEADER_LENGTH: u16 = 0xb1;
const X_IS: u16 = 0x01;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Lets echo replies with our identifier through, whole, and nothing else.
pub(crate) fn replies_to(family: Family, identifier: u16) -> [SockFilter; 7] {
    // Raw IPv4 shows the IP header, whose first byte tells its length; raw IPv6 starts at the ICMP header.
    let start = match family {
        Family::V4 => SockFilter::new(X_IS_HEADER_LENGTH, 0, 0, 0),
        Family::V6 => SockFilter::new(X_IS, 0, 0, 0),
    };
    [
        start,
        SockFilter::new(LOAD_BYTE_AT_X, 0, 0, 0),
        SockFilter::new(JUMP_IF_EQUAL, 0, 3, u32::from(family.reply_kind())),
        SockFilter::new(LOAD_HALF_AT_X, 0, 0, 4),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(identifier)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

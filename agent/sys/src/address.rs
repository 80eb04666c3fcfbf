//! Socket addresses as the kernel lays them out (ip(7), ipv6(7)), written and read byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the longer of the two: `sockaddr_in6`.
pub const LONGEST: usize = 28;
const V4_BYTES: usize = 16;

/// An address laid out for the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Laid {
    pub(crate) bytes: [u8; LONGEST],
    pub(crate) used: usize,
}

/// Lays an address out.
pub(crate) fn lay(address: SocketAddr) -> Laid {
    let mut bytes = [0; LONGEST];
    let (family, used) = match address {
        SocketAddr::V4(_) => (libc::AF_INET, V4_BYTES),
        SocketAddr::V6(_) => (libc::AF_INET6, LONGEST),
    };
    let family = u16::try_from(family).expect("families are small");
    put(&mut bytes, 0, &family.to_ne_bytes());
    put(&mut bytes, 2, &address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => put(&mut bytes, 4, &v4.ip().octets()),
        SocketAddr::V6(v6) => {
            put(&mut bytes, 4, &v6.flowinfo().to_be_bytes());
            put(&mut bytes, 8, &v6.ip().octets());
            put(&mut bytes, 24, &v6.scope_id().to_ne_bytes());
        }
    }
    Laid { bytes, used }
}

/// Reads an address that the kernel wrote; `None` when it is of another family, or too short for its own.
pub fn read(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(take(bytes, 0)?));
    let port = u16::from_be_bytes(take(bytes, 2)?);
    if family == libc::AF_INET {
        let octets: [u8; 4] = take(bytes, 4)?;
        return Some(SocketAddr::V4(SocketAddrV4::new(
            Ipv4Addr::from(octets),
            port,
        )));
    }
    if family == libc::AF_INET6 {
        let flow = u32::from_be_bytes(take(bytes, 4)?);
        let octets: [u8; 16] = take(bytes, 8)?;
        let scope = u32::from_ne_bytes(take(bytes, 24)?);
        return Some(SocketAddr::V6(SocketAddrV6::new(
            Ipv6Addr::from(octets),
            port,
            flow,
            scope,
        )));
    }
    None
}

/// The address of a host, with no port.
pub fn of_host(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let place = bytes
        .get_mut(at..at + value.len())
        .expect("the layout fits its buffer");
    place.copy_from_slice(value);
}

/// `N` bytes from `at`, if they are there.
pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_survives(octets in any::<[u8; 16]>(), port: u16, flow: u32, scope: u32, v4: bool) {
            let address = if v4 {
                let [a, b, c, d, ..] = octets;
                SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port)
            } else {
                SocketAddr::V6(SocketAddrV6::new(octets.into(), port, flow, scope))
            };
            let laid = lay(address);
            prop_assert_eq!(read(&laid.bytes[..laid.used]), Some(address));
            prop_assert_eq!(read(&laid.bytes[..laid.used - 13]), None);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&bytes);
        }
    }
}

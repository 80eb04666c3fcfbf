//! Names of the whole agent's targets: a resolver in the namespace of the targets that knows these and nothing else (RFC 1035).

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use anyhow::Context;

use crate::rig;

/// Where it listens.
pub(crate) const RESOLVER: Ipv4Addr = rig::TARGET;
const PORT: u16 = 53;
/// Seconds that an answer may be kept: as front doors have it.
const TTL: u32 = 60;
const HEADER: usize = 12;
const LARGEST: usize = 1_232;

/// Name of a target.
pub(crate) fn of_target(index: u32) -> String {
    format!("target-{index}.bench.example")
}

/// Answers until the process ends.
pub(crate) fn open() -> anyhow::Result<()> {
    let socket = rig::far(|| UdpSocket::bind((RESOLVER, PORT)).context("cannot answer for names"))?;
    std::thread::Builder::new()
        .name("names".to_owned())
        .spawn(move || {
            let mut question = [0; LARGEST];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                if let Some(answer) = question.get(..length).and_then(answer) {
                    // One that cannot be sent is lost, as on any network.
                    socket.send_to(&answer, from).ok();
                }
            }
        })
        .context("cannot start the resolver's thread")?;
    Ok(())
}

/// The answer to one question; nothing to what is none.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let (name, end) = name(message, HEADER)?;
    let kind = u16::from_be_bytes(message.get(end..end + 2)?.try_into().ok()?);
    let question = message.get(HEADER..end + 4)?;
    let known = name
        .strip_prefix("target-")
        .and_then(|rest| rest.strip_suffix(".bench.example"))
        .and_then(|index| index.parse().ok());
    let address: Option<IpAddr> = known.and_then(|index| match kind {
        1 => Some(rig::site_target(index).into()),
        28 => Some(rig::site_target_v6(index).into()),
        _ => None,
    });
    // RFC 1035 §4.1.1: a response, recursion as asked and available, and NXDOMAIN (3) for a name that is not known.
    let code = if known.is_some() { 0x80 } else { 0x83 };
    let mut answer = message.get(..2)?.to_vec();
    answer.extend([0x81, code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    answer.extend(question);
    if let Some(address) = address {
        // The name is that of the question (a pointer, §4.1.4); class IN.
        answer.extend([0xc0, 0x0c]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(TTL.to_be_bytes());
        let bytes: &[u8] = match &address {
            IpAddr::V4(v4) => &v4.octets(),
            IpAddr::V6(v6) => &v6.octets(),
        };
        answer.extend([0, u8::try_from(bytes.len()).ok()?]);
        answer.extend(bytes);
    }
    Some(answer)
}

/// A name in lower case, and where it ends.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: u8) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).expect("a short label"));
            message.extend(label.bytes());
        }
        message.extend([0, 0, kind, 0, 1]);
        message
    }

    #[test]
    fn targets_have_addresses_of_both_families_and_nothing_else_has() {
        for (name, kind, code, want) in [
            (
                "target-3.bench.example",
                1,
                0x80,
                Some(rig::site_target(3).octets().to_vec()),
            ),
            (
                "TARGET-3.bench.example",
                28,
                0x80,
                Some(rig::site_target_v6(3).octets().to_vec()),
            ),
            ("target-3.bench.example", 15, 0x80, None),
            ("other.example", 1, 0x83, None),
        ] {
            let asked = question(name, kind);
            let answer = answer(&asked).expect("an answer");
            assert_eq!(answer[..4], [0x12, 0x34, 0x81, code], "{name} {kind}");
            assert_eq!(
                answer[HEADER..asked.len()],
                asked[HEADER..],
                "{name} {kind}"
            );
            let address = want.clone().unwrap_or_default();
            assert!(answer.ends_with(&address), "{name} {kind}");
            assert_eq!(answer[7], u8::from(want.is_some()), "{name} {kind}");
        }
        assert_eq!(answer(&[0; 5]), None);
    }
}

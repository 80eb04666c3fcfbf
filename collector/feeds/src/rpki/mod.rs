//! RPKI: validated payloads by RTR (RFC 8210) and from files; a set that shrinks at once is held back.

pub mod rtr;
pub mod session;

use firstmile_routing::asn::Asn;
use firstmile_routing::rule::Prefix;
use firstmile_routing::vrp::Vrp;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

/// A set may lose this share at once; more is a fault of a trust anchor or of the validator.
const MAX_SHRINK_PCT: usize = 20;
/// Below so many payloads a share says nothing.
const SHRINK_FROM: usize = 100;
/// Payloads of all families today are below 1 M.
const MAX_VRPS: usize = 5_000_000;

/// Why a file of payloads cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VrpFileError {
    /// It is no JSON of that form.
    #[error("it is no JSON with a list `roas`")]
    Json(#[from] serde_json::Error),
    /// There are too many.
    #[error("{0} payloads are more than {MAX_VRPS}")]
    TooMany(usize),
}

/// A payload, and its end in Unix seconds where the source says one.
pub type Expiring = (Vrp, Option<u32>);

#[derive(Deserialize)]
struct File {
    roas: Vec<Value>,
}

/// Reads the JSON that Routinator, rpki-client and `StayRTR` write: `{"roas":[{"prefix","maxLength","asn"}]}`. Returns the payloads, each
/// with its end in Unix seconds where the file has `expires` (of the whole chain of certificates, as rpki-client writes it), and how many
/// entries could not be read.
///
/// # Errors
/// [`VrpFileError`] if it is no such file.
pub fn read_json(text: &str) -> Result<(Vec<Expiring>, u64), VrpFileError> {
    let file: File = serde_json::from_str(text)?;
    if file.roas.len() > MAX_VRPS {
        return Err(VrpFileError::TooMany(file.roas.len()));
    }
    let mut unread = 0;
    let mut vrps = Vec::with_capacity(file.roas.len());
    for entry in &file.roas {
        match vrp_of(entry) {
            Some(vrp) => vrps.push((vrp, expires_of(entry))),
            None => unread += 1,
        }
    }
    Ok((vrps, unread))
}

fn vrp_of(entry: &Value) -> Option<Vrp> {
    let prefix = Prefix::parse(entry.get("prefix")?.as_str()?)?.0;
    let asn = Asn::from_json(entry.get("asn")?)?;
    let max_length = match entry.get("maxLength").or_else(|| entry.get("max_length")) {
        None | Some(Value::Null) => prefix.prefix_len(),
        Some(length) => u8::try_from(length.as_u64()?).ok()?,
    };
    usable(prefix, max_length, asn)
}

/// An end that is no number of seconds is none: the payload counts all the same.
fn expires_of(entry: &Value) -> Option<u32> {
    u32::try_from(entry.get("expires")?.as_u64()?).ok()
}

fn usable(prefix: IpNet, max_length: u8, asn: Asn) -> Option<Vrp> {
    (prefix.prefix_len()..=prefix.max_prefix_len())
        .contains(&max_length)
        .then_some(Vrp {
            prefix,
            max_length,
            asn,
        })
}

/// Keeps the last good set: one that lost much at once has to be seen twice.
#[derive(Debug, Default)]
pub struct Guard {
    good: usize,
    /// Size of the set that is held back.
    held_back: Option<usize>,
}

impl Guard {
    /// Whether a set of this size is to be believed.
    pub fn accepts(&mut self, size: usize) -> bool {
        let least = |of: usize| of - of * MAX_SHRINK_PCT / 100;
        let shrank = self.good >= SHRINK_FROM && size < least(self.good);
        let again = self
            .held_back
            .is_some_and(|held| size > 0 && size >= least(held));
        if shrank && !again {
            self.held_back = Some(size);
            return false;
        }
        self.good = size;
        self.held_back = None;
        true
    }

    /// Whether a set is held back now.
    pub fn is_holding(&self) -> bool {
        self.held_back.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_validator_are_read_and_bad_entries_counted() {
        let text = r#"{"metadata":{"buildtime":"x"},"roas":[
            {"asn":"AS64496","prefix":"192.0.2.0/24","maxLength":24,"ta":"x"},
            {"asn":64497,"prefix":"2001:db8::/32","maxLength":48,"expires":1},
            {"asn":"AS64498","prefix":"198.51.100.0/24"},
            {"asn":"AS64498","prefix":"198.51.100.0/24","maxLength":33},
            {"asn":"AS64498","prefix":"198.51.100.0/24","maxLength":23},
            {"asn":"AS64498","prefix":"nonsense","maxLength":24},
            {"asn":"AS4294967296","prefix":"198.51.100.0/24","maxLength":24},
            5]}"#;
        let (vrps, unread) = read_json(text).expect("a file");
        let said: Vec<String> = vrps
            .iter()
            .map(|(vrp, expires)| {
                let expires = expires.map_or(String::new(), |at| format!(" until {at}"));
                format!("{}-{} {}{expires}", vrp.prefix, vrp.max_length, vrp.asn)
            })
            .collect();
        assert_eq!(
            said,
            [
                "192.0.2.0/24-24 AS64496",
                "2001:db8::/32-48 AS64497 until 1",
                "198.51.100.0/24-24 AS64498"
            ]
        );
        assert_eq!(unread, 5);
        for text in ["", "[]", "{}", r#"{"roas":{}}"#] {
            assert!(read_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_set_that_shrinks_at_once_is_held_back() {
        let mut guard = Guard::default();
        for (size, accepted) in [
            (1000, true),
            (900, true),
            (719, false),
            (0, false),
            (720, true),
            (5, false),
            (2000, true),
            // A real shrink is seen again.
            (1000, false),
            (1010, true),
        ] {
            assert_eq!(guard.accepts(size), accepted, "{size}");
        }
        let mut few = Guard::default();
        assert!(
            few.accepts(10) && few.accepts(1),
            "few payloads come and go"
        );
    }
}

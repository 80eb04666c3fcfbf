//! A report as bytes: one zstd frame (RFC 8878) around one protobuf message.

use prost::{Message, encoding};
use zstd::zstd_safe::CParameter;

use crate::VERSION;
use crate::v1::Report;

/// Largest report as sent: 4 MiB. An hour of the default plan is about 60 KiB.
pub const MAX_ENCODED_BYTES: usize = 4 << 20;

/// Largest report once inflated: 8 MiB, so that a small frame cannot fill the collector's memory.
pub const MAX_DECODED_BYTES: usize = 8 << 20;

/// Most messages inside a report, of all kinds and depths together. An empty one takes two bytes on the wire and up to 150 in
/// memory, so bytes alone bound nothing; 20 targets that burst for half a minute make about 30,000.
pub const MAX_MESSAGES: usize = 250_000;

const ZSTD_LEVEL: i32 = 3;

/// Binary logarithms of the sizes of zstd's two tables. By itself it takes half a megabyte for a report of some tens of
/// kilobytes: more than a twentieth of the memory that an agent has.
const ZSTD_TABLES: [CParameter; 2] = [CParameter::HashLog(14), CParameter::ChainLog(13)];

/// Encodes a report.
///
/// # Errors
/// [`FrameError::Compress`] if zstd fails, [`FrameError::TooLarge`] beyond [`MAX_ENCODED_BYTES`] or [`MAX_DECODED_BYTES`].
pub fn encode(report: &Report) -> Result<Vec<u8>, FrameError> {
    let plain = report.encode_to_vec();
    if plain.len() > MAX_DECODED_BYTES {
        return Err(FrameError::TooLarge {
            bytes: plain.len(),
            max: MAX_DECODED_BYTES,
        });
    }
    let framed = compress(&plain).map_err(|source| FrameError::Compress { source })?;
    if framed.len() > MAX_ENCODED_BYTES {
        return Err(FrameError::TooLarge {
            bytes: framed.len(),
            max: MAX_ENCODED_BYTES,
        });
    }
    Ok(framed)
}

fn compress(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    for table in ZSTD_TABLES {
        compressor.set_parameter(table)?;
    }
    compressor.compress(plain)
}

/// Decodes a report from untrusted bytes, in bounded memory.
///
/// # Errors
/// See [`FrameError`]: each variant names what a sender would have to change.
pub fn decode(bytes: &[u8]) -> Result<Report, FrameError> {
    if bytes.len() > MAX_ENCODED_BYTES {
        return Err(FrameError::TooLarge {
            bytes: bytes.len(),
            max: MAX_ENCODED_BYTES,
        });
    }
    let plain = inflate(bytes)?;
    let mut left = MAX_MESSAGES;
    count_messages(&plain, REPORT, &mut left)?;
    let report =
        Report::decode(plain.as_slice()).map_err(|source| FrameError::Malformed { source })?;
    if report.version != VERSION {
        return Err(FrameError::Version {
            got: report.version,
        });
    }
    Ok(report)
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
    use std::io::Read;
    let decoder =
        zstd::stream::read::Decoder::new(bytes).map_err(|source| FrameError::Inflate { source })?;
    let mut plain = Vec::new();
    let limit = u64::try_from(MAX_DECODED_BYTES).unwrap_or(u64::MAX);
    decoder
        .take(limit + 1)
        .read_to_end(&mut plain)
        .map_err(|source| FrameError::Inflate { source })?;
    if plain.len() > MAX_DECODED_BYTES {
        return Err(FrameError::TooLarge {
            bytes: plain.len(),
            max: MAX_DECODED_BYTES,
        });
    }
    Ok(plain)
}

/// Where messages (and other things that are allocated one by one) stand inside a message: field number, then what is inside.
struct Inside(&'static [(u32, Inside)]);

const NOTHING: Inside = Inside(&[]);

/// The nesting of `proto/report.proto`.
const REPORT: &Inside = &Inside(&[
    (10, NOTHING),
    (11, NOTHING),
    (12, NOTHING),
    (13, Inside(&[(5, Inside(&[(2, NOTHING)]))])),
    (14, NOTHING),
    (15, Inside(&[(5, NOTHING)])),
    (16, Inside(&[(6, NOTHING), (7, NOTHING)])),
    (17, NOTHING),
]);

/// Counts before anything is allocated. Unknown fields are passed over, as the decoder does.
fn count_messages(mut bytes: &[u8], inside: &Inside, left: &mut usize) -> Result<(), FrameError> {
    let malformed = |source| FrameError::Malformed { source };
    while !bytes.is_empty() {
        let (tag, wire_type) = encoding::decode_key(&mut bytes).map_err(malformed)?;
        let nested = inside.0.iter().find(|(field, _)| *field == tag);
        let (Some((_, nested)), encoding::WireType::LengthDelimited) = (nested, wire_type) else {
            encoding::skip_field(
                wire_type,
                tag,
                &mut bytes,
                encoding::DecodeContext::default(),
            )
            .map_err(malformed)?;
            continue;
        };
        *left = left
            .checked_sub(1)
            .ok_or(FrameError::TooMany { max: MAX_MESSAGES })?;
        let length = encoding::decode_varint(&mut bytes).map_err(malformed)?;
        let body = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.split_at_checked(length));
        let Some((body, rest)) = body else {
            return Err(FrameError::CutOff);
        };
        if !nested.0.is_empty() {
            count_messages(body, nested, left)?;
        }
        bytes = rest;
    }
    Ok(())
}

/// Why bytes are no report, or a report makes no bytes.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Beyond a bound.
    #[error("a report of {bytes} bytes is over the bound of {max}")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// More messages inside than any honest report has.
    #[error("a report holds more than {max} messages")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// A message says that it is longer than the report.
    #[error("a message inside the report is cut off")]
    CutOff,
    /// zstd could not compress.
    #[error("cannot compress the report")]
    Compress {
        /// What zstd said.
        source: std::io::Error,
    },
    /// The zstd frame is damaged or cut off.
    #[error("the zstd frame is damaged or cut off")]
    Inflate {
        /// What zstd said.
        source: std::io::Error,
    },
    /// The protobuf message is damaged.
    #[error("the protobuf message is damaged")]
    Malformed {
        /// What the decoder said.
        source: prost::DecodeError,
    },
    /// A version of the format that this build does not read.
    #[error("report format version {got} is not known here, this build reads {VERSION}")]
    Version {
        /// The version found.
        got: u32,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::v1::Series;

    fn sample(rtts: Vec<u32>) -> Report {
        Report {
            version: VERSION,
            agent_id: vec![1; 16],
            epoch: vec![2; 16],
            sequence: 3,
            series: vec![Series {
                at_delta_ms: vec![5000; rtts.len()],
                outcome: vec![1; rtts.len()],
                rtt_us: rtts,
                ..Series::default()
            }],
            ..Report::default()
        }
    }

    #[test]
    fn a_frame_that_inflates_beyond_the_bound_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; MAX_DECODED_BYTES + 1], 3).expect("compresses");
        assert!(bomb.len() < MAX_ENCODED_BYTES);
        assert!(matches!(decode(&bomb), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn a_report_of_countless_empty_messages_is_refused_before_it_is_built() {
        for (name, field) in [("targets", 0x5a_u8), ("series", 0x62)] {
            let many = [field, 0].repeat(MAX_MESSAGES + 1);
            let bomb = zstd::bulk::compress(&many, 3).expect("compresses");
            assert!(
                matches!(decode(&bomb), Err(FrameError::TooMany { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn a_message_longer_than_the_report_is_named() {
        let cut = zstd::bulk::compress(&[0x62, 100, 0], 3).expect("compresses");
        assert!(matches!(decode(&cut), Err(FrameError::CutOff)));
    }

    #[test]
    fn a_later_version_is_named() {
        let later = Report {
            version: 99,
            ..sample(vec![])
        };
        assert!(matches!(
            decode(&encode(&later).expect("encodes")),
            Err(FrameError::Version { got: 99 })
        ));
    }

    proptest! {
        #[test]
        fn a_report_is_read_back(rtts in proptest::collection::vec(any::<u32>(), 0..500)) {
            let report = sample(rtts);
            prop_assert_eq!(decode(&encode(&report).expect("encodes")).expect("decodes"), report);
        }

        #[test]
        fn a_truncated_report_is_refused(cut in 1usize..40) {
            let bytes = encode(&sample(vec![11_000; 64])).expect("encodes");
            let cut = cut.min(bytes.len());
            prop_assert!(decode(&bytes[..bytes.len() - cut]).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let outcome = decode(&bytes);
            prop_assert!(outcome.is_err() || outcome.is_ok_and(|report| report.version == VERSION));
        }
    }
}

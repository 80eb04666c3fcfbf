//! A report as bytes: one zstd frame (RFC 8878) around one protobuf message.

use prost::Message;

use crate::VERSION;
use crate::v1::Report;

/// Largest report as sent: 4 MiB. An hour of the default plan is about 60 KiB.
pub const MAX_ENCODED_BYTES: usize = 4 << 20;

/// Largest report once inflated: 32 MiB, so that a small frame cannot fill the collector's memory.
pub const MAX_DECODED_BYTES: usize = 32 << 20;

const ZSTD_LEVEL: i32 = 3;

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
    let framed = zstd::bulk::compress(&plain, ZSTD_LEVEL)
        .map_err(|source| FrameError::Compress { source })?;
    if framed.len() > MAX_ENCODED_BYTES {
        return Err(FrameError::TooLarge {
            bytes: framed.len(),
            max: MAX_ENCODED_BYTES,
        });
    }
    Ok(framed)
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

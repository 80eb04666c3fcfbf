//! The columns of one series as samples. Pure.

use std::sync::Arc;

use firstmile_wire::v1::Series;

use super::batch::{Marks, Sample};
use super::decode::{DecodeError, address, outcome_of, phase_of, protocol_of, rtt, wrong};

/// Reads the samples of `series` of `target` into `samples`; `at` turns an offset from the report's anchor into a time.
///
/// # Errors
/// [`DecodeError`] when columns differ in length, or a value is none.
pub(super) fn read(
    series: &Series,
    target: &Arc<str>,
    at: impl Fn(i64) -> Result<i64, DecodeError>,
    samples: &mut Vec<Sample>,
) -> Result<(), DecodeError> {
    let count = series.at_delta_ms.len();
    // Columns that no sample has anything in are left out whole.
    let optional = [
        &series.scheduling_delay_us,
        &series.marks,
        &series.reply_ttl,
    ];
    if series.rtt_us.len() != count
        || series.outcome.len() != count
        || optional
            .iter()
            .any(|column| !column.is_empty() && column.len() != count)
    {
        return Err(wrong("the columns of a series", "differ in length"));
    }
    let destination = address(&series.destination)?;
    let (protocol, phase) = (protocol_of(series.protocol), phase_of(series.phase));
    let mut offset_ms = 0_i64;
    let columns = series
        .at_delta_ms
        .iter()
        .zip(&series.rtt_us)
        .zip(&series.outcome);
    for (place, ((delta_ms, rtt_us), outcome)) in columns.enumerate() {
        offset_ms = offset_ms.saturating_add(*delta_ms);
        let of = |column: &[u32]| column.get(place).copied().unwrap_or(0);
        samples.push(Sample {
            at_unix_ms: at(offset_ms)?,
            target: Arc::clone(target),
            destination,
            protocol,
            phase,
            outcome: outcome_of(*outcome),
            rtt_us: rtt(*rtt_us)?,
            reply_ttl: u8::try_from(of(&series.reply_ttl)).unwrap_or(u8::MAX),
            marks: Marks(of(&series.marks)),
            scheduling_delay_us: of(&series.scheduling_delay_us),
        });
    }
    Ok(())
}

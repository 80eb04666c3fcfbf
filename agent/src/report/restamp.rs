//! Reports that move to another life of the spool: same content, same order, the new epoch in each.
//!
//! Each file is replaced as a whole and keeps its sequence, so a crash in between leaves nothing lost or twice: whoever
//! goes on finds some done and some not.

use firstmile_wire::frame;
use firstmile_wire::ids::{AgentId, Epoch};
use tracing::warn;

/// The bytes of a report under `epoch`; `None` when it is damaged or not of `agent`, and can never be sent as ours.
pub(super) fn restamp(
    bytes: &[u8],
    agent: AgentId,
    epoch: Epoch,
    sequence: u64,
) -> Option<Vec<u8>> {
    let mut report = match frame::decode(bytes) {
        Ok(report) => report,
        Err(error) => {
            warn!(sequence, %error, "damaged report dropped from the spool");
            return None;
        }
    };
    if report.agent_id != agent.to_bytes() {
        warn!(sequence, "report of another agent dropped from the spool");
        return None;
    }
    report.epoch = epoch.to_bytes();
    report.sequence = sequence;
    match frame::encode(&report) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            warn!(sequence, %error, "report dropped from the spool");
            None
        }
    }
}

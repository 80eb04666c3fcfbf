//! Damping (cutoff, reuse, half-life and longest hold: RFC 2439 §4.2): a path that moves again and again is one event
//! that counts its flanks, and never silence.
//!
//! RFC 7196 §6 advises a cutoff of 6,000 and more for routers, which take routes away; this takes nothing away, so four
//! to five flanks within a quarter of an hour suppress.

use crate::level::Class;
use crate::memory::{Flap, PathMemory};
use crate::observer::is_claim;
use crate::track::{Change, Ending, Phase, Status};

/// Penalty of one flank.
const FLANK: f32 = 1_000.0;
/// Above it the path flaps.
const SUPPRESS: f32 = 3_500.0;
/// Below it, it does no more.
const RESUME: f32 = 1_500.0;
/// Half-life of the penalty, seconds.
const HALF_LIFE_S: f64 = 900.0;
/// Longest suppression, seconds.
const HOLD_MAX_S: f64 = 3_600.0;

/// Passes changes on, or holds them back while the path flaps.
pub(crate) fn pass(memory: &mut PathMemory, changes: Vec<Change>) -> Vec<Change> {
    let now = memory.newest.max(memory.pulses.last);
    let mut out = resume(memory, now);
    for change in changes {
        if !is_claim(&change) {
            if memory.flap.is_none() {
                out.push(change);
            }
            continue;
        }
        let penalty = decayed(memory, change.at) + FLANK;
        memory.penalty = penalty;
        memory.penalty_at = change.at;
        if let Some(flap) = &mut memory.flap {
            flap.flanks = flap.flanks.saturating_add(1);
            mute(memory);
            continue;
        }
        if penalty <= SUPPRESS {
            out.push(change);
            continue;
        }
        let start = flapping(Phase::Start, change.at, change.onset, change.at);
        if change.phase == Phase::End {
            out.push(change);
        } else {
            mute(memory);
        }
        memory.flap = Some(Flap {
            since: start.at,
            flanks: 1,
        });
        out.push(start);
    }
    out
}

fn decayed(memory: &PathMemory, at: f64) -> f32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a factor between 0 and 1 loses only digits"
    )]
    let factor = (-(at - memory.penalty_at).max(0.0) / HALF_LIFE_S).exp2() as f32;
    memory.penalty * factor
}

fn tracks(memory: &mut PathMemory) -> [&mut crate::track::Track; 4] {
    [
        &mut memory.path,
        &mut memory.reach,
        &mut memory.edge,
        &mut memory.spare,
    ]
}

fn mute(memory: &mut PathMemory) {
    let now = memory.penalty_at;
    for track in tracks(memory) {
        if let Some(open) = track.open.as_mut().filter(|open| open.started >= now) {
            open.muted = true;
        }
    }
}

/// Ends the flapping when the penalty has faded; what is still away then is told as what it is.
fn resume(memory: &mut PathMemory, at: f64) -> Vec<Change> {
    let Some(flap) = memory.flap else {
        return Vec::new();
    };
    if decayed(memory, at) >= RESUME && at - flap.since < HOLD_MAX_S {
        return Vec::new();
    }
    memory.flap = None;
    let last = memory.penalty_at;
    let mut end = flapping(
        Phase::End,
        at,
        [flap.since, last.max(flap.since)],
        flap.since,
    );
    end.onset = [last, at];
    end.ending = Some(Ending::Recovery);
    end.reasons = vec![format!(
        "{} flanks in all, the last {:.0} s ago",
        flap.flanks,
        at - last
    )];
    let mut out = vec![end];
    for track in tracks(memory) {
        if let Some(open) = track.open.as_mut().filter(|open| open.muted) {
            open.muted = false;
            open.started = at;
            let mut change = open.change(Phase::Start, at);
            change.reasons = vec!["it stayed so when the path stopped flapping".to_owned()];
            out.push(change);
        }
    }
    out
}

fn flapping(phase: Phase, at: f64, onset: [f64; 2], started: f64) -> Change {
    Change {
        phase,
        status: Status::Event,
        class: Class::Flapping,
        at,
        onset,
        from: None,
        to: None,
        confidence: 0.99,
        reasons: vec!["four flanks and more within a quarter of an hour".to_owned()],
        ending: None,
        brief: false,
        started,
    }
}

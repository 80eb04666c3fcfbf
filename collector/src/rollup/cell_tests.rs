//! Tests of cells: which outcome counts as what, windows, merging, bytes; and of weights and figures.

use std::sync::Arc;

use firstmile_wire::v1::{Phase, Protocol};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::rollup::{AGENT_WEIGHT, AgentMerge, FIVE_MINUTES_MS, Weighting, figures};

const OUTCOMES: [Outcome; 14] = [
    Outcome::Unspecified,
    Outcome::Answered,
    Outcome::Timeout,
    Outcome::Refused,
    Outcome::Unreachable,
    Outcome::DnsFailed,
    Outcome::NoRoute,
    Outcome::NotPermitted,
    Outcome::TlsFailed,
    Outcome::HttpFailed,
    Outcome::LocalError,
    Outcome::Reset,
    Outcome::Filtered,
    Outcome::QuicFailed,
];

fn cells() -> impl Strategy<Value = Cell> {
    vec((0..OUTCOMES.len(), 1u32..70_000_000), 0..40).prop_map(|probes| {
        let mut cell = Cell::default();
        for (outcome, rtt_us) in probes {
            cell.record(OUTCOMES[outcome], rtt_us);
        }
        cell.weights = cell.answered.spread();
        if cell.lost % 2 == 1 {
            cell.where_never_answered()
        } else {
            cell
        }
    })
}

fn merged(cells: &[&Cell]) -> Cell {
    let mut sum = Cell::default();
    for cell in cells {
        sum.merge(cell);
    }
    sum
}

#[test]
fn only_silence_and_unreachability_are_loss() {
    for outcome in OUTCOMES {
        let mut cell = Cell::default();
        cell.record(Outcome::Answered, 10_000);
        cell.record(outcome, 20_000);
        let (n, lost) = match outcome {
            Outcome::Answered | Outcome::Refused => (2, 0),
            Outcome::Timeout | Outcome::Unreachable | Outcome::Reset | Outcome::Filtered => (2, 1),
            Outcome::Unspecified
            | Outcome::DnsFailed
            | Outcome::NoRoute
            | Outcome::NotPermitted
            | Outcome::TlsFailed
            | Outcome::HttpFailed
            | Outcome::QuicFailed
            | Outcome::LocalError => (1, 0),
        };
        assert_eq!(
            (cell.n(), cell.lost, cell.probes()),
            (n, lost, 2),
            "{outcome:?}"
        );
        let want = if outcome == Outcome::Answered { 2 } else { 1 };
        assert_eq!(
            cell.answered.count(),
            want,
            "{outcome:?}: no RTT but of answered probes"
        );
    }
}

/// (outcome, n, lost) of each phase, after one whole probe and one that ended early.
#[test]
fn a_failed_https_probe_counts_in_the_phases_it_did_not_come_to() {
    let phases = [Phase::Connect, Phase::Tls, Phase::Ttfb];
    let (agent, target) = (AgentId(Uuid::from_u128(1)), Arc::<str>::from("a"));
    let sample = |protocol, phase, outcome| Sample {
        at_unix_ms: 0,
        target: Arc::clone(&target),
        destination: None,
        protocol,
        phase,
        outcome,
        rtt_us: 10_000,
        reply_ttl: 0,
        marks: Marks::default(),
        scheduling_delay_us: 0,
    };
    for (name, phase, outcome, want) in [
        (
            "no connection",
            Phase::Connect,
            Outcome::Timeout,
            [(2, 1), (2, 1), (2, 1)],
        ),
        (
            "refused",
            Phase::Connect,
            Outcome::Refused,
            [(2, 0), (2, 0), (2, 0)],
        ),
        (
            "no handshake",
            Phase::Tls,
            Outcome::Timeout,
            [(1, 0), (2, 1), (2, 1)],
        ),
        (
            "no answer",
            Phase::Ttfb,
            Outcome::Timeout,
            [(1, 0), (1, 0), (2, 1)],
        ),
        (
            "not sent",
            Phase::Connect,
            Outcome::NoRoute,
            [(1, 0), (1, 0), (1, 0)],
        ),
    ] {
        let whole = phases.map(|phase| sample(Protocol::Https, phase, Outcome::Answered));
        let mut samples = whole.to_vec();
        samples.push(sample(Protocol::Https, phase, outcome));
        samples.push(sample(Protocol::Tcp, Phase::Connect, outcome)); // no such thing, and nothing follows from it
        let cells = cells_of(agent, &samples);
        let of = |wanted: Phase| {
            let mut https = cells
                .iter()
                .filter(|(key, _)| key.protocol == Protocol::Https as i32);
            let found = https.find(|(key, _)| key.phase == wanted as i32);
            found.map(|(_, cell)| (cell.n(), cell.lost))
        };
        assert_eq!(phases.map(of), want.map(Some), "{name}");
        assert_eq!(cells.len(), 4, "{name}: {cells:?}");
    }
}

#[test]
fn a_sample_belongs_to_the_minute_it_was_sent_in() {
    let agent = AgentId(Uuid::from_u128(1));
    let sample = |at_unix_ms, target: &str, protocol, phase| Sample {
        at_unix_ms,
        target: Arc::from(target),
        destination: None,
        protocol,
        phase,
        outcome: Outcome::Answered,
        rtt_us: 10_000,
        reply_ttl: 0,
        marks: Marks::default(),
        scheduling_delay_us: 0,
    };
    let cells = cells_of(
        agent,
        &[
            sample(59_999, "a", Protocol::Tcp, Phase::Rtt),
            sample(60_000, "a", Protocol::Tcp, Phase::Rtt),
            sample(119_999, "a", Protocol::Tcp, Phase::Rtt),
            sample(60_000, "b", Protocol::Tcp, Phase::Rtt),
            sample(60_000, "a", Protocol::Https, Phase::Tls),
            sample(-1, "a", Protocol::Tcp, Phase::Rtt),
        ],
    );
    let told: Vec<_> = cells
        .iter()
        .map(|(key, cell)| {
            (
                key.at_unix_ms,
                key.target.as_str(),
                key.protocol,
                key.phase,
                cell.n(),
            )
        })
        .collect();
    let (tcp, rtt) = (Protocol::Tcp as i32, Phase::Rtt as i32);
    assert_eq!(
        told,
        [
            (-60_000, "a", tcp, rtt, 1),
            (0, "a", tcp, rtt, 1),
            (60_000, "a", tcp, rtt, 2),
            (60_000, "a", Protocol::Https as i32, Phase::Tls as i32, 1),
            (60_000, "b", tcp, rtt, 1),
        ]
    );
    assert!(cells.keys().all(|key| key.agent == agent));
}

#[test]
fn one_busy_agent_does_not_move_the_median_of_the_agents() {
    let mut merge = AgentMerge::new();
    for window in 0..3 {
        let mut busy = Cell::default();
        busy.answered.record_n(200_000, 100_000);
        merge.add((), 1, &busy);
        for agent in 2..=4 {
            let mut quiet = Cell::default();
            quiet.record(Outcome::Answered, 10_000 + window);
            merge.add((), agent, &quiet);
        }
        merge.close_window();
    }
    let merged = merge.finish().remove(&()).unwrap();
    assert_eq!(merged.cell.weights.count(), 3 * 4 * AGENT_WEIGHT);
    let told = |weighting| figures(&merged.cell, merged.agents.len(), weighting);
    assert_eq!(
        (told(Weighting::Agent).agents, told(Weighting::Agent).n),
        (4, 300_009)
    );
    assert!(told(Weighting::Agent).p50_us.unwrap() < 11_000);
    assert!(told(Weighting::Sample).p50_us.unwrap() > 190_000);
}

#[test]
fn an_agent_that_heard_nothing_has_loss_and_no_weight() {
    let mut merge = AgentMerge::new();
    let (mut answered, mut lost, mut unsent) = (Cell::default(), Cell::default(), Cell::default());
    answered.record(Outcome::Answered, 10_000);
    lost.record(Outcome::Timeout, 0);
    unsent.record(Outcome::NoRoute, 0);
    for (agent, cell) in [(1, &answered), (2, &lost), (3, &unsent)] {
        merge.add((), agent, cell);
    }
    let merged = merge.finish().remove(&()).unwrap();
    assert_eq!(merged.cell.weights.count(), AGENT_WEIGHT);
    let told = figures(&merged.cell, merged.agents.len(), Weighting::Agent);
    assert_eq!(
        (told.n, told.agents, told.loss_ratio),
        (2, 2, Some(0.5)),
        "an agent that sent nothing stands behind nothing"
    );
}

#[test]
fn figures_without_an_answer_have_no_quantiles() {
    let nothing = figures(&Cell::default(), 0, Weighting::Agent);
    assert_eq!(nothing, crate::api::types::Figures::default());
    let mut lost = Cell::default();
    lost.record(Outcome::Timeout, 0);
    let told = figures(&lost, 1, Weighting::Sample);
    assert_eq!(
        (told.n, told.loss_ratio, told.p50_us, told.min_us),
        (1, Some(1.0), None, None)
    );
}

#[test]
fn windows_of_times_before_1970_begin_before_them() {
    assert_eq!(window_start(-1, FIVE_MINUTES_MS), -FIVE_MINUTES_MS);
    assert_eq!(
        window_start(FIVE_MINUTES_MS, FIVE_MINUTES_MS),
        FIVE_MINUTES_MS
    );
    assert!(
        window_start(i64::MIN, MINUTE_MS) <= window_start(i64::MAX, MINUTE_MS),
        "no overflow"
    );
}

#[test]
fn where_a_protocol_was_never_answered_silence_is_no_loss() {
    let mut cell = Cell::default();
    for outcome in [Outcome::Timeout, Outcome::Unreachable, Outcome::NoRoute] {
        cell.record(outcome, 0);
    }
    let told = cell.clone().where_never_answered();
    assert_eq!(
        (told.n(), told.lost, told.unanswered, told.probes()),
        (0, 0, 2, 3)
    );
    assert_eq!(figures(&told, 0, Weighting::Agent).loss_ratio, None);
    assert_eq!(Cell::from_bytes(&told.to_bytes()), Ok(told));
}

#[test]
fn bytes_of_the_versions_before_are_read() {
    let mut first = Cell::default();
    first.record(Outcome::Answered, 100);
    first.record(Outcome::Timeout, 0);
    let second = Cell {
        unanswered: 5,
        ..first.clone()
    };
    let histograms = [101, 1, 100, 1, 0];
    for (version, counts, want) in [
        (1, vec![1, 0, 0, 0], first),
        (2, vec![1, 0, 0, 0, 5], second),
    ] {
        let before = [vec![version], counts, histograms.to_vec()].concat();
        assert_eq!(Cell::from_bytes(&before), Ok(want), "form {version}");
    }
    assert_eq!(
        Cell::from_bytes(&[4, 0]),
        Err(DecodeError::Version { version: 4 })
    );
    assert_eq!(Cell::from_bytes(&[]), Err(DecodeError::Truncated));
}

#[test]
fn what_says_nothing_of_the_road_is_counted_and_in_no_figure() {
    use firstmile_wire::v1::Mark;
    let agent = AgentId(Uuid::from_u128(1));
    let sample = |mark: Mark, outcome, rtt_us| Sample {
        at_unix_ms: 0,
        target: Arc::from("a"),
        destination: None,
        protocol: Protocol::Tcp,
        phase: Phase::Rtt,
        outcome,
        rtt_us,
        reply_ttl: 0,
        marks: Marks(mark as u32),
        scheduling_delay_us: 0,
    };
    // (n, left out, mistimed, lost) of one good answer, one marked answer and one marked loss.
    for (mark, want) in [
        (Mark::None, (3, 0, 0, 1)),
        (Mark::NotUsersPath, (3, 0, 0, 1)),
        (Mark::Untrusted, (3, 0, 1, 1)),
        (Mark::AfterIdle, (3, 0, 1, 1)),
        (Mark::TerminatedLocally, (1, 2, 0, 0)),
        (Mark::Tunnel, (1, 2, 0, 0)),
        (Mark::Roaming, (1, 2, 0, 0)),
    ] {
        let samples = [
            sample(Mark::None, Outcome::Answered, 10_000),
            sample(mark, Outcome::Answered, 90_000),
            sample(mark, Outcome::Timeout, 0),
        ];
        let cells = cells_of(agent, &samples);
        let cell = cells.values().next().expect("one cell");
        let told = figures(cell, 1, Weighting::Sample);
        let counts = (told.n, told.left_out, told.mistimed, cell.lost);
        assert_eq!(counts, want, "{mark:?}");
        let times = if want.2 == 0 && want.1 == 0 { 2 } else { 1 };
        assert_eq!(cell.answered.count(), times, "{mark:?}: which times count");
        assert_eq!(cell.probes(), 3, "{mark:?}: none is thrown away");
        assert_eq!(Cell::from_bytes(&cell.to_bytes()).as_ref(), Ok(cell));
    }
}

proptest! {
    #[test]
    fn merging_is_associative_and_commutative(a in cells(), b in cells(), c in cells()) {
        let left = merged(&[&merged(&[&a, &b]), &c]);
        prop_assert_eq!(&left, &merged(&[&a, &merged(&[&b, &c])]));
        prop_assert_eq!(&left, &merged(&[&c, &a, &b]));
    }

    #[test]
    fn bytes_round_trip(cell in cells()) {
        prop_assert_eq!(Cell::from_bytes(&cell.to_bytes()), Ok(cell));
    }

    #[test]
    fn damaged_bytes_never_panic(cell in cells(), at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let mut bytes = cell.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = Cell::from_bytes(&bytes) {
            prop_assert!(other != cell);
            figures(&other, 1, Weighting::Agent);
        }
        prop_assert!(Cell::from_bytes(&bytes[..at]).is_err());
    }

    #[test]
    fn any_bytes_are_a_cell_or_an_error(mut bytes in vec(any::<u8>(), 1..200)) {
        bytes[0] = VERSION;
        if let Ok(cell) = Cell::from_bytes(&bytes) {
            figures(&cell, 1, Weighting::Agent);
            merged(&[&cell, &cell]);
        }
    }

    #[test]
    fn quantiles_are_in_order_and_above_the_minimum(cell in cells()) {
        for weighting in [Weighting::Agent, Weighting::Sample] {
            let told = figures(&cell, 1, weighting);
            let line = [told.min_us, told.p5_us, told.p25_us, told.p50_us, told.p75_us, told.p95_us, told.p99_us];
            prop_assert!(line.is_sorted(), "{:?}", line);
            prop_assert_eq!(told.p50_us.is_some(), cell.answered.count() > 0);
        }
    }
}

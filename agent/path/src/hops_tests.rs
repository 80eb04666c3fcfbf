//! Hop figures: the rule of false loss as a property, and the table of edges.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::met::Hop;

const MS: Duration = Duration::from_millis(1);

fn router(ttl: u8, branch: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, ttl * 8 + branch).into()
}

fn tally(flow: u16, ttl: u8, answer: Option<(IpAddr, u32)>, is_destination: bool) -> Tally {
    Tally {
        flow,
        ttl,
        sent: 1,
        hop: answer.map(|(address, ms)| Hop::plain(address, MS * ms)),
        is_destination: is_destination && answer.is_some(),
    }
}

/// `answered[i]` of `sent` packets come back from TTL `i + 1`; the last one is the destination when `reached`.
fn table(sent: u32, answered: &[u32], reached: bool) -> HopTable {
    let mut table = HopTable::default();
    for number in 0..sent {
        let tallies: Vec<Tally> = (1_u8..)
            .zip(answered)
            .map(|(ttl, answers)| {
                let is_last = usize::from(ttl) == answered.len();
                let answer = (number < *answers).then(|| (router(ttl, 0), u32::from(ttl)));
                tally(0, ttl, answer, reached && is_last)
            })
            .collect();
        table.absorb(&tallies);
    }
    table
}

fn verdicts(table: &HopTable) -> Vec<(Loss, bool)> {
    let rows = table.rows();
    rows.iter()
        .map(|row| (row.loss, row.is_rate_limited))
        .collect()
}

#[test]
fn silence_is_loss_only_where_every_later_hop_shows_it() {
    use Loss::{Ratio, Silent, Unclear};
    for (name, answered, reached, want) in [
        (
            "all answer",
            vec![100, 100, 100],
            true,
            vec![(Ratio(0.0), false); 3],
        ),
        (
            "a middle hop answers one in six",
            vec![100, 16, 100],
            true,
            vec![(Ratio(0.0), false), (Ratio(0.0), true), (Ratio(0.0), false)],
        ),
        (
            "a silent hop speaks neither for nor against",
            vec![100, 0, 75],
            true,
            vec![(Ratio(0.0), false), (Silent, false), (Ratio(0.25), false)],
        ),
        (
            "real loss from the second hop on",
            vec![100, 50, 50, 50],
            true,
            vec![
                (Ratio(0.0), false),
                (Ratio(0.5), false),
                (Ratio(0.5), false),
                (Ratio(0.5), false),
            ],
        ),
        (
            "real loss, and a hop that limits its replies besides",
            vec![50, 10, 50],
            true,
            vec![(Ratio(0.5), false), (Ratio(0.5), true), (Ratio(0.5), false)],
        ),
        (
            "a difference that chance makes",
            vec![48, 50],
            true,
            vec![(Ratio(0.5), false); 2],
        ),
        (
            "nothing stands behind the last hop",
            vec![100, 40, 0],
            false,
            vec![(Ratio(0.0), false), (Unclear(0.6), false)],
        ),
        ("nothing answers", vec![0, 0, 0], false, vec![]),
    ] {
        assert_eq!(verdicts(&table(100, &answered, reached)), want, "{name}");
    }
}

proptest! {
    #[test]
    fn no_hop_shows_more_loss_than_any_later_hop(
        answered in prop::collection::vec(0u32..=40, 1..12),
        reached in any::<bool>(),
    ) {
        let rows = table(40, &answered, reached).rows();
        for (place, row) in rows.iter().enumerate() {
            let (Loss::Ratio(shown) | Loss::Unclear(shown)) = row.loss else {
                prop_assert_eq!(row.answered, 0);
                continue;
            };
            for later in rows.iter().skip(place).filter(|later| later.answered > 0) {
                prop_assert!(shown <= later.missing_ratio());
            }
            prop_assert!(row.answered <= row.sent);
            prop_assert!(row.best <= row.median && row.median <= row.worst);
            prop_assert!(row.best <= row.last && row.last <= row.worst);
        }
    }
}

#[test]
fn flows_that_part_are_told_apart_and_end_each_at_its_own_distance() {
    let mut table = HopTable::default();
    let destination = router(9, 0);
    for _ in 0..2 {
        let mut tallies = Vec::new();
        for flow in 0..4 {
            let branch = u8::from(flow == 3);
            tallies.push(tally(flow, 1, Some((router(1, branch), 1)), false));
            if branch == 1 {
                tallies.push(tally(flow, 2, Some((router(2, 0), 2)), false));
            }
            tallies.push(tally(flow, 2 + branch, Some((destination, 5)), true));
        }
        table.absorb(&tallies);
    }
    let rows = table.rows();
    let seen: Vec<Vec<(usize, bool)>> = rows
        .iter()
        .map(|row| {
            row.addresses
                .iter()
                .map(|here| (here.flows, here.is_destination))
                .collect()
        })
        .collect();
    assert_eq!(
        seen,
        [
            vec![(3, false), (1, false)],
            vec![(3, true), (1, false)],
            vec![(1, true)]
        ]
    );
    assert!(table.is_reached());
}

#[test]
fn a_silent_branch_is_seen_and_its_lost_destination_counts() {
    let mut table = HopTable::default();
    table.absorb(&[
        tally(0, 1, Some((router(1, 0), 1)), false),
        tally(1, 1, None, false),
        tally(0, 2, Some((router(9, 0), 2)), true),
        tally(1, 2, None, false),
    ]);
    let rows = table.rows();
    let silent: Vec<usize> = rows.iter().map(|row| row.silent_flows).collect();
    assert_eq!(silent, [1, 1]);
    assert_eq!(rows[1].loss, Loss::Ratio(0.5), "a black hole is no silence");
}

#[test]
fn a_destination_that_answers_one_ttl_late_makes_no_row_of_its_own() {
    let mut table = HopTable::default();
    table.absorb(&[
        tally(0, 1, Some((router(1, 0), 1)), false),
        tally(0, 2, Some((router(2, 0), 2)), true),
    ]);
    // The packet with TTL 2 was lost; the one with TTL 3, sent at the same time, reached the destination.
    table.absorb(&[
        tally(0, 1, Some((router(1, 0), 1)), false),
        tally(0, 2, None, false),
        tally(0, 3, Some((router(2, 0), 2)), true),
    ]);
    let rows = table.rows();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].loss, Loss::Ratio(0.5));
}

#[test]
fn a_path_that_became_longer_shows_after_some_rounds() {
    let mut table = HopTable::default();
    table.absorb(&[tally(0, 1, Some((router(9, 0), 1)), true)]);
    for _ in 0..ENDS {
        table.absorb(&[
            tally(0, 1, Some((router(1, 0), 1)), false),
            tally(0, 2, Some((router(9, 0), 2)), true),
        ]);
    }
    assert_eq!(table.rows().len(), 2);
}

#[test]
fn memory_is_bounded() {
    let mut table = HopTable::default();
    for number in 0..2_000_u32 {
        let [_, _, third, fourth] = number.to_be_bytes();
        let address = Ipv4Addr::new(198, 18, third, fourth).into();
        table.absorb(&[tally(0, 1, Some((address, number + 1)), false)]);
    }
    let rows = table.rows();
    assert_eq!(rows[0].addresses.len(), MAX_ADDRESSES);
    assert_eq!(rows[0].answered, 2_000);
    assert_eq!(rows[0].best, Some(MS));
    assert_eq!(rows[0].last, Some(MS * 2_000));
    assert!(rows[0].median > Some(MS * 1_700), "of the last answers");
}

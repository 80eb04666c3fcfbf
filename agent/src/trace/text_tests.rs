//! The table of a path with everything in it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::probe::hops::HopTable;
use crate::probe::trace::{Hop, Tally};

fn answer(flow: u16, ttl: u8, address: &str, is_destination: bool) -> Tally {
    Tally {
        flow,
        ttl,
        sent: 1,
        hop: Some(Hop::plain(
            address.parse().expect("an address"),
            Duration::from_micros(1_250 * u64::from(ttl)),
        )),
        is_destination,
    }
}

fn silence(flow: u16, ttl: u8) -> Tally {
    Tally {
        flow,
        ttl,
        sent: 2,
        hop: None,
        is_destination: false,
    }
}

fn outcome(tallies: &[Tally]) -> Outcome {
    let mut table = HopTable::default();
    table.absorb(tallies);
    let name = |address: &str, name: &str| {
        let address: IpAddr = address.parse().expect("an address");
        (address, name.to_owned())
    };
    Outcome {
        target: Some("mail".to_owned()),
        is_reached: table.is_reached(),
        rows: table.rows(),
        names: BTreeMap::from([
            name("192.0.2.1", "gateway.example"),
            name("198.51.100.3", "ae1-0.ams21-96cbe-1a.ntwk.msn.net"),
        ]),
        ..crate::trace::outcome::tests::nothing()
    }
}

#[test]
fn a_path_with_everything_in_it() {
    let outcome = outcome(&[
        answer(0, 1, "192.0.2.1", false),
        answer(1, 1, "192.0.2.1", false),
        answer(0, 2, "198.51.100.1", false),
        answer(1, 2, "198.51.100.2", false),
        silence(0, 3),
        silence(1, 3),
        answer(0, 4, "198.51.100.3", false),
        silence(1, 4),
        answer(0, 5, "203.0.113.1", true),
        answer(1, 5, "203.0.113.1", true),
    ]);
    let want = "\
mail: mail.example (203.0.113.1)  TCP SYN to port 443, 2 flows, 1 round; times in ms

hop  address and name                                          flows          loss    sent   answ.     last     mean     best   median    worst     ipdv
  1  192.0.2.1 gateway.example                                                 0 %       2       2      1.2      1.2      1.2      1.2      1.2        -
  2  198.51.100.1                                                  1           0 %       2       2      2.5      2.5      2.5      2.5      2.5        -
     198.51.100.2                                                  1
  3  *                                                                      silent       4       0        -        -        -        -        -        -
  4  198.51.100.3 ae1-0.ams21-96cbe-1a.ntwk.msn.net = ingress      1  rate-limited       3       1      5.0      5.0      5.0      5.0      5.0        -
     *                                                             1
  5  203.0.113.1 = destination                                                 0 %       2       2      6.2      6.2      6.2      6.2      6.2        -

The destination answers. Microsoft's network begins at hop 4.
rate-limited: the hop answers only some packets, and passes on more than it answers: no loss there.";
    let seen = lines(&outcome, "1 round").join("\n");
    assert_eq!(sorted_words(&seen), sorted_words(want), "{seen}");
    assert_eq!(seen.lines().count(), want.lines().count());
}

/// Which of two equal branches stands first says nothing.
fn sorted_words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words.sort_unstable();
    words
}

#[test]
fn what_is_not_known_is_not_made_up() {
    let nothing = lines(&outcome(&[silence(0, 1)]), "1 round").join("\n");
    assert!(nothing.contains("No hop has answered."), "{nothing}");
    let cut = lines(
        &outcome(&[answer(0, 1, "192.0.2.1", false), silence(1, 1)]),
        "1 round",
    )
    .join("\n");
    assert!(cut.contains("The destination does not answer."), "{cut}");
    assert!(cut.contains("66.7 %?"), "{cut}");
}

#[test]
fn the_json_has_the_documented_keys() {
    let outcome = outcome(&[
        answer(0, 1, "192.0.2.1", false),
        answer(0, 2, "198.51.100.3", false),
        answer(0, 3, "203.0.113.1", true),
    ]);
    let json = serde_json::to_value(outcome.to_json()).expect("JSON");
    assert_eq!(json["ingress"]["ttl"], 2);
    assert_eq!(json["reached"], true);
    assert_eq!(json["hops"][0]["loss_ratio"], 0.0);
    assert_eq!(json["hops"][0]["addresses"][0]["name"], "gateway.example");
    assert_eq!(json["hops"][2]["addresses"][0]["is_destination"], true);
    assert_eq!(json["hops"][2]["median_ms"], 3.75);
}

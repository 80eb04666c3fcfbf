//! Recordings as others may make them: other numbers, other noise, half of it missing, rubbish between.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Judge;
use super::statements::{CLASSES, claimed, edited, once};
use super::tests::{Path, Recording, case, claims, judge_with, quiet, usual, world};

/// What is claimed of a recording that was changed line by line.
fn of(lines: &str, edit: impl Fn(&mut Value)) -> Vec<(String, String)> {
    claims(&judge_with(&world(), &edited(lines, edit)))
}

fn flows(line: &mut Value) -> &mut Vec<Value> {
    line["flows"].as_array_mut().expect("a round has flows")
}

fn is_round(line: &Value) -> bool {
    line["kind"] == "round"
}

/// Away and back, half an hour each.
fn there_and_back(class: &str) -> Recording {
    let mut recording = Recording::learned();
    recording.moved(&case(class), 1_200.0);
    recording.moved(&usual(), 1_200.0);
    recording
}

#[test]
fn flows_may_have_any_numbers() {
    for class in CLASSES {
        for first in [1_u64, 33_434] {
            let got = claimed(&world(), class, |line| {
                if is_round(line) {
                    for flow in flows(line) {
                        flow["flow"] = json!(flow["flow"].as_u64().unwrap() + first);
                    }
                }
            });
            assert_eq!(got, once(class), "{class} from {first}");
        }
    }
}

#[test]
fn one_flow_is_enough_for_what_one_flow_can_show() {
    for class in ["local", "geo", "provider", "uplink", "unreachable"] {
        for said in [1, 8] {
            let mut tables = world();
            tables["plan"]["flows"] = json!(said);
            let got = claimed(&tables, class, |line| {
                if is_round(line) {
                    flows(line).truncate(1);
                }
            });
            assert_eq!(got, once(class), "{class}, a plan of {said}");
        }
    }
}

#[test]
fn a_recording_of_icmp_alone_is_judged() {
    for class in ["local", "geo", "provider", "uplink", "unreachable"] {
        let got = claimed(&world(), class, |line| {
            if is_round(line) {
                line["protocol"] = json!("icmp");
            }
        });
        assert_eq!(got, once(class), "{class}");
    }
}

#[test]
fn hops_may_be_written_as_tools_write_them() {
    for class in CLASSES {
        let got = claimed(&world(), class, |line| {
            if !is_round(line) {
                return;
            }
            for flow in flows(line) {
                flow["reached"] = Value::Null;
                for hop in flow["hops"].as_array_mut().unwrap() {
                    *hop = match hop.as_str() {
                        None => json!("*"),
                        Some("192.168.1.1") => json!("fe80::1%eth0"),
                        Some(address) => json!(format!("::ffff:{address}")),
                    };
                }
            }
        });
        assert_eq!(got, once(class), "{class}");
    }
}

#[test]
fn a_label_switched_core_hides_no_move() {
    let hidden = |line: &mut Value| {
        if !is_round(line) {
            return;
        }
        for flow in flows(line) {
            let first = flow["first_ttl"].as_u64().unwrap();
            for ttl in 3..=5_u64 {
                if let Some(index) = ttl.checked_sub(first) {
                    flow["hops"][usize::try_from(index).unwrap()] = Value::Null;
                }
            }
        }
    };
    for class in CLASSES {
        assert_eq!(claimed(&world(), class, hidden), once(class), "{class}");
    }
}

#[test]
fn a_core_that_balances_packet_by_packet_hides_no_move_and_is_none() {
    let sprayed = |line: &mut Value| {
        if !is_round(line) {
            return;
        }
        let lot = line["ts"].as_f64().unwrap().to_bits() >> 20;
        for (number, flow) in (0..).zip(flows(line)) {
            let first = flow["first_ttl"].as_u64().unwrap();
            let Some(index) = 4_u64.checked_sub(first) else {
                continue;
            };
            let hop = &mut flow["hops"][usize::try_from(index).unwrap()];
            if hop == "198.18.2.2" {
                *hop = json!(format!("198.18.2.{}", 20 + (lot + number * 5) % 4));
            }
        }
    };
    for class in CLASSES {
        assert_eq!(claimed(&world(), class, sprayed), once(class), "{class}");
    }
    let mut recording = Recording::learned();
    recording.play(&usual(), 7_200.0);
    assert_eq!(of(&recording.lines, sprayed), []);
}

#[test]
fn a_silent_ingress_leaves_the_move_of_metro_and_provider() {
    let mut tables = world();
    tables["ptr"]["198.19.1.9"] = json!("ae1-0.ibr01.ams30.ntwk.msn.net");
    tables["ptr"]["198.19.2.9"] = json!("ae1-0.ibr01.fra30.ntwk.msn.net");
    for class in ["geo", "provider", "uplink", "unreachable"] {
        let got = claimed(&tables, class, |line| {
            if is_round(line) {
                for flow in flows(line) {
                    let first = flow["first_ttl"].as_u64().unwrap();
                    let ingress = usize::try_from(7 - first).unwrap();
                    flow["hops"][ingress] = Value::Null;
                }
            }
        });
        assert_eq!(got, once(class), "{class}");
    }
}

#[test]
fn where_names_are_of_the_ingress_alone_the_metro_is_known() {
    let named = claimed(&world(), "geo", |line| {
        if is_round(line) && line["stream"] != "full" {
            for flow in flows(line) {
                flow["hops"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!("198.19.1.90"));
            }
        }
    });
    assert_eq!(named, once("geo"));
}

#[test]
fn nothing_is_claimed_where_no_hop_answers() {
    let mut recording = Recording::learned();
    recording.play(&usual(), 3_600.0);
    let got = of(&recording.lines, |line| {
        if is_round(line) {
            for flow in flows(line) {
                for hop in flow["hops"].as_array_mut().unwrap() {
                    *hop = Value::Null;
                }
            }
        }
    });
    assert_eq!(got, []);
}

#[test]
fn every_second_round_may_be_missing() {
    for class in CLASSES {
        let recording = there_and_back(class);
        let mut number = 0;
        let half: String = recording
            .lines
            .split_inclusive('\n')
            .filter(|line| {
                number += usize::from(line.contains("\"round\""));
                !line.contains("\"round\"") || number < 23 || number % 2 == 0
            })
            .collect();
        assert_eq!(claims(&judge_with(&world(), &half)), once(class), "{class}");
    }
}

#[test]
fn lines_out_of_order_change_no_claim() {
    for class in CLASSES {
        let recording = there_and_back(class);
        let mut lines: Vec<&str> = recording.lines.lines().collect();
        for at in (40..lines.len() - 3).step_by(7) {
            lines.swap(at, at + 2);
        }
        let got = claims(&judge_with(&world(), &lines.join("\n")));
        assert_eq!(got, once(class), "{class}");
    }
}

#[test]
fn a_history_too_short_to_learn_from_claims_nothing() {
    for rounds in [0, 1, 2, 5, 19] {
        let mut recording = Recording {
            lines: String::new(),
            now: 1_000_000.0,
        };
        for _ in 0..rounds {
            recording.one("full", &usual(), 8.0);
        }
        for class in CLASSES {
            recording.burst(&case(class));
        }
        let lines = recording.judged();
        assert_eq!(claims(&lines), [], "{rounds} rounds");
        assert_eq!(lines.last().unwrap()["summary"]["events"], 0);
    }
}

#[test]
fn an_empty_recording_has_a_summary() {
    for text in ["", "\n", "\r\n\r\n"] {
        let lines = judge_with(&world(), text);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["summary"]["rounds"], 0);
    }
}

#[test]
fn a_move_while_learning_is_no_event_and_what_comes_after_is_seen() {
    for class in ["local", "geo", "provider", "uplink"] {
        let mut recording = Recording {
            lines: String::new(),
            now: 1_000_000.0,
        };
        for _ in 0..10 {
            recording.one("full", &usual(), 8.0);
        }
        for _ in 0..10 {
            recording.one("full", &case(class), 8.0);
        }
        recording.one("refresh", &case(class), 10.0);
        recording.play(&case(class), 3_600.0);
        quiet(class, &recording);
        let other = if class == "geo" { "provider" } else { "geo" };
        let mut away = case(class);
        match other {
            "geo" => away.ingress = case("geo").ingress,
            _ => away.border = case("provider").border,
        }
        if other == "geo" {
            (away.inside, away.ingress_ms) = ("198.19.2.9", 17);
        } else {
            away.core = case("provider").core;
        }
        recording.moved(&away, 1_200.0);
        recording.moved(&case(class), 1_200.0);
        assert_eq!(claims(&recording.judged()), once(other), "after {class}");
    }
}

#[test]
fn of_two_moves_that_overlap_each_that_starts_ends_and_the_next_is_seen() {
    let both = |one: &str, other: &str| Path {
        core: case(one).core,
        border: case(one).border,
        ..case(other)
    };
    for (one, other) in [("provider", "geo"), ("provider", "local")] {
        let mut recording = Recording::learned();
        recording.moved(&case(other), 600.0);
        recording.moved(&both(one, other), 600.0);
        recording.moved(&case(one), 600.0);
        recording.moved(&usual(), 1_800.0);
        let lines = recording.judged();
        let told = claims(&lines);
        let count = |phase: &str| told.iter().filter(|claim| claim.0 == phase).count();
        assert_eq!(told.first(), Some(&("start".into(), other.into())));
        assert_eq!(count("start"), count("end"), "{told:?}");
        assert!((1..=2).contains(&count("start")), "{told:?}");
        recording.moved(&case("unreachable"), 300.0);
        let after = claims(&recording.judged());
        assert_eq!(after.last(), Some(&("start".into(), "unreachable".into())));
    }
}

#[test]
fn a_brief_move_is_recorded_whole_or_not_at_all() {
    for class in ["geo", "provider", "local", "uplink"] {
        for seconds in [10.0, 25.0, 60.0, 115.0] {
            let mut recording = Recording::learned();
            let until = recording.now + seconds;
            recording.one("full", &case(class), 5.0);
            while recording.now + 5.0 < until {
                recording.one("burst", &case(class), 5.0);
            }
            recording.burst(&usual());
            recording.play(&usual(), 1_800.0);
            let lines = recording.judged();
            let told = claims(&lines);
            assert!(
                told == once(class) || told.is_empty() && seconds < 30.0,
                "{class} {seconds}: {told:?}"
            );
            let ended = lines
                .iter()
                .filter(|line| line["phase"] == "end" && line["status"] == "event");
            for end in ended {
                assert_eq!(end["brief"], true, "{class} {seconds}");
            }
        }
    }
}

#[test]
fn a_provider_that_is_changed_for_good_is_one_event() {
    let mut recording = Recording::learned();
    recording.moved(&case("provider"), 90_000.0);
    assert_eq!(claims(&recording.judged()), once("provider"));
}

#[test]
fn the_targets_of_an_agent_that_move_together_are_one_incident() {
    let mut recording = there_and_back("geo");
    let other: String = recording
        .lines
        .lines()
        .map(|line| line.replace("\"target\":\"edge\"", "\"target\":\"other\"") + "\n")
        .collect();
    let mut lines: Vec<String> = recording
        .lines
        .lines()
        .chain(other.lines())
        .map(Into::into)
        .collect();
    let at = |line: &String| {
        serde_json::from_str::<Value>(line).unwrap()["ts"]
            .as_f64()
            .unwrap()
    };
    lines.sort_by(|one, other| at(one).total_cmp(&at(other)));
    recording.lines = lines.join("\n");
    let told = recording.judged();
    let starts: Vec<&Value> = told
        .iter()
        .filter(|line| line["phase"] == "start" && line["status"] == "event")
        .collect();
    assert_eq!(starts.len(), 2, "each target has its event");
    assert_eq!(starts[0]["incident"], starts[1]["incident"]);
}

#[test]
fn rubbish_between_the_lines_costs_none_of_them() {
    let recording = there_and_back("geo");
    let want = claims(&recording.judged());
    let mut text = String::from("\u{feff}");
    let mut bad = Vec::new();
    for (number, line) in recording.lines.lines().enumerate() {
        writeln!(
            text,
            "{}\r",
            line.replacen('{', "{\"colour\":\"blue\",\"deep\":[{}],", 1)
        )
        .unwrap();
        let rubbish = match number % 40 {
            3 => line.get(..line.len() / 2).unwrap(),
            9 => "\u{0}\u{1}",
            14 => "[]",
            21 => r#"{"kind":"comet","ts":1}"#,
            28 => {
                r#"{"kind":"round","agent":"a","target":"edge","ts":1e999,"stream":"tail","flows":[]}"#
            }
            33 => {
                r#"{"kind":"round","agent":"a","target":"edge","ts":5,"stream":"tail","flows":[{"flow":-1,"hops":[]}]}"#
            }
            _ => continue,
        };
        bad.push(text.lines().count() as u64 + 1);
        writeln!(text, "{rubbish}").unwrap();
    }
    let mut judge = Judge::new(&world().to_string()).unwrap();
    text.split('\n').for_each(|line| judge.line(line));
    let (count, first) = judge.broken();
    assert_eq!(count, bad.len() as u64);
    let named: Vec<u64> = first.iter().map(|broken| broken.line).collect();
    assert_eq!(named, bad[..named.len()], "each by its line");
    let lines: Vec<Value> = judge
        .finish()
        .iter()
        .map(|line| serde_json::to_value(line).unwrap())
        .collect();
    assert_eq!(claims(&lines), want);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_damaged_line_is_read_or_named_and_never_stops_the_others(
        at in 0_usize..400, byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut recording = Recording { lines: String::new(), now: 1_000_000.0 };
        recording.one("full", &usual(), 8.0);
        let mut bytes = recording.lines.trim_end().as_bytes().to_vec();
        let at = at.min(bytes.len() - 1);
        if cut { bytes.remove(at); } else { bytes[at] = byte; }
        let mut judge = Judge::new(&world().to_string()).unwrap();
        judge.line(&String::from_utf8_lossy(&bytes));
        judge.line(recording.lines.trim_end());
        let broken = judge.broken().0;
        let lines = judge.finish();
        let last = serde_json::to_value(lines.last().unwrap()).unwrap();
        let rounds = last["summary"]["rounds"].as_u64().unwrap();
        prop_assert_eq!(rounds + broken, 2);
    }
}

//! Each statement of the format, by a recording that has it.

use serde_json::{Value, json};

use super::tests::{Path, Recording, case, claims, judge_with, quiet, usual, world};

/// Plays a class on a recording whose lines were changed by `edit`, and says what is claimed.
pub(super) fn claimed(
    tables: &Value,
    class: &str,
    edit: impl Fn(&mut Value),
) -> Vec<(String, String)> {
    let mut recording = Recording::learned();
    recording.moved(&case(class), 1_200.0);
    recording.moved(&usual(), 1_200.0);
    claims(&judge_with(tables, &edited(&recording.lines, edit)))
}

pub(super) fn edited(lines: &str, edit: impl Fn(&mut Value)) -> String {
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        edit(&mut value);
        value.to_string() + "\n"
    };
    lines.lines().map(line).collect()
}

pub(super) fn once(class: &str) -> Vec<(String, String)> {
    vec![("start".into(), class.into()), ("end".into(), class.into())]
}

pub(super) const CLASSES: [&str; 7] = [
    "local",
    "geo",
    "provider",
    "uplink",
    "unreachable",
    "redundancy_lost",
    "partial_geo",
];

fn remove(line: &mut Value, key: &str) {
    line.as_object_mut().unwrap().remove(key);
}

fn as_v6(text: &str) -> String {
    let octets: Vec<u8> = text
        .split('.')
        .map(|octet| octet.parse().unwrap())
        .collect();
    match octets[..] {
        [192, 168, ..] => "fd00::1".into(),
        [a, b, c, d] => format!(
            "2001:db8:{:x}:{c:x}::{d:x}",
            u16::from(a) * 256 + u16::from(b)
        ),
        _ => panic!("{text} is no address"),
    }
}

/// Every address of a text of JSON in IPv6.
fn all_v6(text: &str) -> String {
    let is_address = |part: &str| {
        part.split('.').count() == 4 && part.split('.').all(|octet| octet.parse::<u8>().is_ok())
    };
    let part = |part: &str| match part.split_once('/') {
        Some((address, length)) if is_address(address) => {
            let bits = if length == "16" { 48 } else { 64 };
            format!("{}/{bits}", as_v6(address))
        }
        _ if is_address(part) => as_v6(part),
        _ => part.to_owned(),
    };
    text.split('"').map(part).collect::<Vec<_>>().join("\"")
}

#[test]
fn what_may_be_absent_or_null_may_be() {
    for class in CLASSES {
        let bare = claimed(&world(), class, |line| {
            remove(line, "addr");
            remove(line, "protocol");
            if line["kind"] == "round" {
                (line["public"], line["edge"]) = (Value::Null, Value::Null);
            }
        });
        assert_eq!(bare, once(class), "{class}");
    }
}

#[test]
fn addresses_may_be_of_ipv6() {
    for class in CLASSES {
        let mut recording = Recording::learned();
        recording.moved(&case(class), 1_200.0);
        recording.moved(&usual(), 1_200.0);
        let tables: Value = serde_json::from_str(&all_v6(&world().to_string())).unwrap();
        let lines = judge_with(&tables, &all_v6(&recording.lines));
        assert_eq!(claims(&lines), once(class), "{class}");
    }
}

#[test]
fn recordings_may_be_thinner_than_the_live_plan() {
    for class in ["unreachable", "geo", "provider", "local"] {
        let mut tables = world();
        tables["plan"]["pulse_s"] = json!(30);
        tables["plan"]["tail_s"] = json!(300);
        let mut recording = Recording::learned();
        recording.play(&case(class), 3_600.0);
        recording.play(&usual(), 3_600.0);
        let (mut pulses, mut rounds) = (0, 0);
        let thin: String = recording
            .lines
            .lines()
            .filter(|line| {
                if line.contains("pulse") {
                    pulses += 1;
                    pulses % 6 == 0
                } else {
                    rounds += 1;
                    rounds < 25 || rounds % 10 == 0
                }
            })
            .map(|line| line.to_owned() + "\n")
            .collect();
        assert_eq!(claims(&judge_with(&tables, &thin)), once(class), "{class}");
    }
}

#[test]
fn two_lost_pulses_and_a_round_that_stops_short_are_enough_where_pulses_are_rare() {
    let mut tables = world();
    tables["plan"]["pulse_s"] = json!(30);
    let mut recording = Recording::learned();
    recording.play(&case("unreachable"), 75.0);
    recording.play(&usual(), 900.0);
    let mut pulses = 0;
    let mut keep = |line: &&str| {
        pulses += usize::from(line.contains("pulse"));
        !line.contains("pulse") || pulses % 6 == 0
    };
    let thin: String = recording
        .lines
        .lines()
        .filter(|line| keep(line))
        .map(|line| line.to_owned() + "\n")
        .collect();
    assert_eq!(claims(&judge_with(&tables, &thin)), once("unreachable"));
}

#[test]
fn rounds_of_other_protocols_beside_are_no_events_and_hide_none() {
    for class in CLASSES {
        let mut recording = Recording::learned();
        recording.moved(&case(class), 1_200.0);
        recording.moved(&usual(), 1_200.0);
        let mut both = String::new();
        for line in recording.lines.lines() {
            both.push_str(line);
            both.push('\n');
            let mut value: Value = serde_json::from_str(line).unwrap();
            if value["kind"] != "round" {
                continue;
            }
            // Balancers send all ICMP probes one way.
            let first = value["flows"][0].clone();
            for flow in value["flows"].as_array_mut().unwrap() {
                let number = flow["flow"].clone();
                flow.clone_from(&first);
                flow["flow"] = number;
            }
            value["protocol"] = json!("icmp");
            value["ts"] = json!(value["ts"].as_f64().unwrap() + 0.3);
            both.push_str(&(value.to_string() + "\n"));
        }
        assert_eq!(claims(&judge_with(&world(), &both)), once(class), "{class}");
    }
}

#[test]
fn a_recording_of_udp_alone_is_judged_too() {
    for class in CLASSES {
        let udp = claimed(&world(), class, |line| {
            if line["kind"] == "round" {
                line["protocol"] = json!("udp");
            }
        });
        assert_eq!(udp, once(class), "{class}");
    }
}

#[test]
fn a_clock_that_is_hours_off_changes_nothing_and_one_that_is_set_back_neither() {
    let mut recording = Recording::learned();
    recording.play(&usual(), 600.0);
    recording.now -= 5.0 * 3_600.0;
    recording.play(&usual(), 3_600.0);
    quiet("set back", &recording);
    recording.moved(&case("geo"), 900.0);
    assert_eq!(
        claims(&recording.judged()),
        [("start".into(), "geo".into())]
    );
}

#[test]
fn one_round_of_a_time_that_cannot_be_blinds_for_no_more_than_three() {
    let mut recording = Recording::learned();
    let now = recording.now;
    recording.one("tail", &usual(), 1e9);
    recording.now = now;
    recording.play(&usual(), 180.0);
    recording.moved(&case("geo"), 300.0);
    assert_eq!(
        claims(&recording.judged()),
        [("start".into(), "geo".into())]
    );
}

#[test]
fn hops_that_cannot_be_are_no_events() {
    for garbage in [
        "198.19.1.77",
        "240.0.0.1",
        "0.0.0.0",
        "127.0.0.1",
        "255.255.255.255",
        "198.18.3.77",
    ] {
        let mut recording = Recording::learned();
        let from = recording.lines.len();
        recording.play(&usual(), 1_800.0);
        let tail = recording.lines.split_off(from);
        recording.lines += &edited(&tail, |line| {
            let stream = line["stream"].clone();
            for flow in line["flows"].as_array_mut().into_iter().flatten() {
                let at = usize::from(stream == "full");
                flow["hops"][at] = json!(garbage);
            }
        });
        quiet(garbage, &recording);
    }
}

#[test]
fn looped_paths_are_no_events() {
    let mut recording = Recording::learned();
    let from = recording.lines.len();
    recording.play(&usual(), 1_800.0);
    let tail = recording.lines.split_off(from);
    recording.lines += &edited(&tail, |line| {
        for flow in line["flows"].as_array_mut().into_iter().flatten() {
            let mut hops = flow["hops"].as_array().unwrap().clone();
            let twice = hops.iter().chain(hops.iter()).cloned().collect::<Vec<_>>();
            hops = twice;
            flow["hops"] = Value::Array(hops);
        }
    });
    quiet("loop", &recording);
}

#[test]
fn the_other_answers_of_a_repeated_flow_are_known() {
    let refresh = |recording: &mut Recording| {
        let from = recording.lines.len();
        recording.one("refresh", &usual(), 10.0);
        let line = recording.lines.split_off(from);
        recording.lines += &edited(&line, |line| {
            for flow in line["flows"].as_array_mut().into_iter().flatten() {
                let hops = flow["hops"].as_array().unwrap().clone();
                flow["repeat"] = hops
                    .iter()
                    .map(|hop| match hop.as_str() {
                        Some("198.18.2.2") => json!([hop, "198.18.3.2", null]),
                        Some("198.19.1.2") => json!([hop, "198.19.1.3", "198.19.1.4"]),
                        _ => json!([hop]),
                    })
                    .collect();
            }
        });
    };
    let mut recording = Recording::learned();
    refresh(&mut recording);
    recording.play(&usual(), 600.0);
    let mut path: Path = case("local");
    path.core[1] = "198.18.3.2";
    recording.moved(&path, 1_200.0);
    quiet("what a refresh found", &recording);
}

#[test]
fn sleep_is_no_outage() {
    let mut recording = Recording::learned();
    let from = recording.now;
    recording.now += 7_200.0;
    let gap = json!({"kind": "gap", "agent": "a", "ts": from, "until": recording.now});
    recording.lines += &(gap.to_string() + "\n");
    recording.play(&usual(), 900.0);
    quiet("gap", &recording);
}

#[test]
fn a_place_that_no_edge_code_names_is_a_place_all_the_same() {
    let mut tables = world();
    tables["pops"] = json!([{"code": "AMS04", "metro": "Amsterdam"}]);
    let mut recording = Recording::learned();
    recording.moved(&case("geo"), 600.0);
    let lines = judge_with(&tables, &recording.lines);
    let start = lines
        .iter()
        .find(|line| line["phase"] == "start" && line["status"] == "event");
    let start = start.expect("a geo failover");
    assert_eq!(
        (&start["from"], &start["to"]),
        (&json!("Amsterdam"), &json!("FRA"))
    );
}

#[test]
fn where_no_hop_answers_edge_and_rtt_tell_of_another_metro() {
    let silent = |path: Path| Path {
        ingress: vec![String::new()],
        inside: "",
        ..path
    };
    let mut recording = Recording::of(&silent(usual()));
    let mut away = silent(case("geo"));
    away.edge = "FRA";
    recording.moved(&away, 1_800.0);
    recording.moved(&silent(usual()), 1_800.0);
    assert_eq!(claims(&recording.judged()), once("geo"));
}

#[test]
fn agents_whose_provider_nobody_said_are_grouped_by_the_one_they_have() {
    let mut tables = world();
    tables["agents"] = json!({"a": {}, "b": {"provider_asn": null}});
    let mut recording = Recording::learned();
    recording.moved(&case("geo"), 600.0);
    let both: String = recording
        .lines
        .lines()
        .flat_map(|line| {
            [
                line.to_owned() + "\n",
                line.replace("\"agent\":\"a\"", "\"agent\":\"b\"") + "\n",
            ]
        })
        .collect();
    let lines = judge_with(&tables, &both);
    let group = lines
        .iter()
        .find(|line| line.get("agents").is_some())
        .expect("an incident");
    assert_eq!(
        (&group["provider_asn"], &group["agents"]),
        (&json!(64500), &json!(["a", "b"]))
    );
}

#[test]
fn a_start_is_told_again_when_a_third_agent_joins() {
    let mut recording = Recording::learned();
    recording.moved(&case("geo"), 600.0);
    let all: String = recording
        .lines
        .lines()
        .flat_map(|line| {
            ["a", "b", "c"].map(|agent| {
                line.replace("\"agent\":\"a\"", &format!("\"agent\":\"{agent}\"")) + "\n"
            })
        })
        .collect();
    let lines = judge_with(&world(), &all);
    let groups: Vec<&Value> = lines
        .iter()
        .filter(|line| line.get("agents").is_some())
        .collect();
    assert_eq!(groups.len(), 2, "{groups:?}");
    assert_eq!(groups[0]["incident"], groups[1]["incident"]);
    assert_eq!(groups[1]["agents"], json!(["a", "b", "c"]));
}

fn minute_of(line: &Value) -> u32 {
    let seconds = line["ts"].as_f64().unwrap() - 1_000_000.0;
    (1..100_000)
        .find(|minute| f64::from(*minute) * 60.0 > seconds)
        .unwrap()
}

#[test]
fn rotating_addresses_of_the_front_door_are_no_events() {
    let mut recording = Recording::learned();
    let from = recording.lines.len();
    recording.play(&usual(), 7_200.0);
    let tail = recording.lines.split_off(from);
    recording.lines += &edited(&tail, |line| {
        if line["kind"] == "round" {
            let minute = minute_of(line);
            line["addr"] = json!(format!("198.19.255.{}", 1 + minute % 4));
        }
    });
    quiet("rotation", &recording);
}

#[test]
fn two_uplinks_at_work_and_pools_of_addresses_are_the_baseline() {
    let both = |lines: &str| {
        edited(lines, |line| {
            if line["kind"] != "round" {
                return;
            }
            line["public"] = json!(format!("203.0.113.{}", 1 + minute_of(line) % 200));
            for flow in line["flows"].as_array_mut().into_iter().flatten() {
                if flow["flow"].as_u64().unwrap() % 2 == 1 && flow["first_ttl"] == 1 {
                    flow["hops"][1] = json!("198.18.4.1");
                }
            }
        })
    };
    let mut recording = Recording::learned();
    recording.play(&usual(), 3_600.0);
    assert_eq!(claims(&judge_with(&world(), &both(&recording.lines))), []);
}

#[test]
fn a_fresh_hash_that_meets_a_router_no_flow_met_before_is_no_event() {
    let mut path = usual();
    path.ingress.push("198.19.1.3".into());
    path.pick = [2, 0, 2, 2, 1, 2, 0, 1];
    let mut recording = Recording::learned();
    recording.moved(&path, 1_800.0);
    quiet("fresh hash", &recording);
}

#[test]
fn what_was_adopted_without_certainty_leaves_no_redundancy_to_be_lost() {
    let mut path = usual();
    path.ingress = vec!["198.19.1.77".into(), "198.19.1.78".into()];
    let mut recording = Recording::learned();
    recording.moved(&path, 3_600.0);
    recording.moved(&usual(), 3_600.0);
    quiet("adopted", &recording);
}

#[test]
fn an_end_needs_no_burst() {
    let mut recording = Recording::learned();
    recording.moved(&case("geo"), 900.0);
    let back = recording.now;
    recording.play(&usual(), 600.0);
    let lines = recording.judged();
    let end = lines.iter().find(|line| line["phase"] == "end").unwrap();
    assert!(end["ts"].as_f64().unwrap() - back <= 95.0, "{end}");
}

#[test]
fn an_alias_before_a_failover_does_not_make_its_onset_earlier() {
    let mut recording = Recording::learned();
    let mut alias = usual();
    alias.ingress = vec!["198.19.1.77".into(), "198.19.1.78".into()];
    recording.moved(&alias, 300.0);
    let before = recording.now;
    recording.moved(&case("geo"), 600.0);
    let lines = recording.judged();
    let start = lines
        .iter()
        .find(|line| line["phase"] == "start" && line["status"] == "event")
        .unwrap();
    assert!(
        start["onset"][0].as_f64().unwrap() >= before - 35.0,
        "{start}"
    );
}

//! Every class of verdict, its start and its end, over IPv4 and IPv6: cases in `cases/`, each said in a few lines.
//!
//! A case is a title (`# …`), rules (`rules {…}`, JSON on one line; it stays for the cases that follow), updates (`A peer prefix path`,
//! `W peer prefix`, `down peer`, `raw …`, `@seconds` before it for its time) and the verdicts that must follow, all of them and no other
//! (`< after phase class prefix offender`). Every case runs twice: as it stands, and with each IPv4 prefix moved into IPv6.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::Judge;

struct Case {
    title: String,
    rules: String,
    updates: Vec<String>,
    verdicts: Vec<String>,
    /// Real incidents and addresses that have no counterpart stay in their family.
    one_family: bool,
}

#[test]
fn every_case_is_judged_as_it_says_over_both_families() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut count = 0;
    let mut failures = String::new();
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the cases are there")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a case file");
        for case in cases(&text) {
            let families: &[bool] = if case.one_family {
                &[false]
            } else {
                &[false, true]
            };
            for six in families {
                count += 1;
                if let Some(difference) = run(&case, *six) {
                    let family = if *six { "IPv6" } else { "as written" };
                    writeln!(
                        failures,
                        "{}: {} ({family})\n{difference}",
                        file.display(),
                        case.title
                    )
                    .expect("a string takes it");
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count >= 300, "only {count} cases ran");
}

fn cases(text: &str) -> Vec<Case> {
    let mut rules = String::new();
    let mut cases: Vec<Case> = Vec::new();
    let mut one_family = false;
    for line in text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
    {
        if let Some(json) = line.strip_prefix("rules ") {
            json.clone_into(&mut rules);
            continue;
        }
        if let Some(word) = line.strip_prefix("families ") {
            one_family = word == "one";
            continue;
        }
        if let Some(title) = line.strip_prefix("# ") {
            cases.push(Case {
                title: title.to_owned(),
                rules: rules.clone(),
                updates: Vec::new(),
                verdicts: Vec::new(),
                one_family,
            });
            continue;
        }
        let case = cases.last_mut().expect("a title comes first");
        match line.strip_prefix("< ") {
            Some(verdict) => case.verdicts.push(verdict.to_owned()),
            None => case.updates.push(line.to_owned()),
        }
    }
    cases
}

/// What differs, if anything does.
fn run(case: &Case, six: bool) -> Option<String> {
    let mut rules: Value = serde_json::from_str(&case.rules).expect("rules are JSON");
    if six {
        move_json(&mut rules);
    }
    let mut judge = Judge::new(&rules.to_string()).expect("usable rules");
    let mut said = Vec::new();
    for (index, update) in case.updates.iter().enumerate() {
        said.extend(judge.line(&message(update, index, six)));
    }
    said.extend(judge.finish());
    let said: Vec<String> = said
        .iter()
        .map(|line| {
            let line = serde_json::to_value(line).expect("a line is JSON");
            let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
            let number = |key: &str| line[key].as_u64().map_or("-".to_owned(), |n| n.to_string());
            assert!(!text("reason").is_empty(), "every verdict has a reason");
            format!(
                "{} {} {} {} {}",
                number("after"),
                text("phase"),
                text("class"),
                text("prefix"),
                number("offender")
            )
        })
        .collect();
    let wanted: Vec<String> = case
        .verdicts
        .iter()
        .map(|verdict| {
            if six {
                move_words(verdict)
            } else {
                verdict.clone()
            }
        })
        .collect();
    if said == wanted {
        return None;
    }
    Some(format!("  wanted {wanted:#?}\n  got {said:#?}"))
}

fn message(update: &str, index: usize, six: bool) -> String {
    if let Some(raw) = update.strip_prefix("raw ") {
        return raw.to_owned();
    }
    let update = if six {
        move_words(update)
    } else {
        update.to_owned()
    };
    let mut words = update.split_whitespace().peekable();
    let mut at = json!(index);
    if let Some(seconds) = words.peek().and_then(|word| word.strip_prefix('@')) {
        at = serde_json::from_str(seconds).expect("seconds are a number");
        words.next();
    }
    let verb = words.next().expect("a verb");
    let peer = words.next().expect("a peer");
    let mut data = json!({
        "timestamp": at, "peer": peer, "peer_asn": "64999", "host": "rrc00", "type": "UPDATE", "id": "x",
    });
    match verb {
        "A" => {
            let prefixes: Vec<&str> = words.next().expect("a prefix").split('+').collect();
            let mut path = Vec::new();
            for word in words {
                match word.strip_prefix("otc=") {
                    Some(asn) => data["otc"] = json!(asn),
                    None => path.push(hop(word)),
                }
            }
            data["path"] = json!(path);
            data["announcements"] =
                json!([{"next_hop": "192.0.2.1,fe80::1", "prefixes": prefixes}]);
        }
        "W" => data["withdrawals"] = words.collect(),
        "down" => {
            data["type"] = json!("RIS_PEER_STATE");
            data["state"] = json!("down");
        }
        other => panic!("{other} is no verb"),
    }
    json!({"type": "ris_message", "data": data}).to_string()
}

/// `64496`, or `{64496,64497}` as a set.
fn hop(word: &str) -> Value {
    match word
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        Some(members) => members.split(',').map(hop).collect(),
        None => json!(word.parse::<u32>().expect("an AS number")),
    }
}

/// Moves every IPv4 prefix into `2001:db8::/32`: 32 bits longer, its bits below it.
fn move_prefix(word: &str) -> Option<String> {
    let (address, length) = word.split_once('/')?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    let [a, b, c, d] = address.octets();
    let bits =
        (u128::from(0x2001_0db8_u32) << 96) | (u128::from(u32::from_be_bytes([a, b, c, d])) << 64);
    Some(format!(
        "{}/{}",
        std::net::Ipv6Addr::from(bits),
        length + 32
    ))
}

fn move_words(line: &str) -> String {
    let one = |word: &str| move_prefix(word).unwrap_or_else(|| word.to_owned());
    let words = line
        .split(' ')
        .map(|word| word.split('+').map(one).collect::<Vec<_>>().join("+"));
    words.collect::<Vec<_>>().join(" ")
}

fn move_json(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(moved) = move_prefix(text) {
                *text = moved;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(move_json),
        Value::Object(map) => {
            for (key, value) in map {
                let longer = |n: &Value| json!(n.as_u64().expect("a length") + 32);
                match key.as_str() {
                    "prefix_len" => {
                        *value = value
                            .as_array()
                            .expect("lengths")
                            .iter()
                            .map(longer)
                            .collect();
                    }
                    "max_length" => *value = longer(value),
                    _ => move_json(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn rules_that_cannot_be_used_are_refused() {
    for rules in [
        "",
        "[]",
        r#"{"rule":[]}"#,
        r#"{"rules":[{"prefix":"198.51.100.0/24","origin":[1]}]}"#,
        r#"{"rules":[{"origins":[1]}]}"#,
        r#"{"rules":[{"prefix":"198.51.100.0"}, {"prefix":"x"}]}"#,
        r#"{"rules":[{"prefix":"198.51.100.0/24","prefix_len":[25]}]}"#,
        r#"{"rules":[{"prefix":"198.51.100.0/24","prefix_len":[23,25]}]}"#,
        r#"{"rules":[{"prefix":"198.51.100.0/24","more_specifics":"maybe"}]}"#,
        r#"{"rules":[{"prefix":"198.51.100.0/24","path_policy":[{"match":"("}]}]}"#,
        r#"{"rules":[{"prefix":"198.51.100.0/24","path_policy":[{"regex":"1"}]}]}"#,
        r#"{"rules":[{"prefix":"198.51.100.0/24","only":["hijack.exact.asn"]}]}"#,
        r#"{"asns":[{"asn":64496,"upstream":[1]}]}"#,
        r#"{"asns":[{"asn":"x"}]}"#,
        r#"{"vrps":[{"prefix":"198.51.100.0/24","maxLength":24,"asn":1}]}"#,
        r#"{"vrps":[{"prefix":"198.51.100.0/24","max_length":23,"asn":1}]}"#,
        r#"{"vrps":[{"prefix":"198.51.100.0/24","max_length":33,"asn":1}]}"#,
        r#"{"relations":[{"a":1,"b":2,"rel":"customer-of"}]}"#,
        r#"{"relations":[{"a":1,"b":2,"rel":"peer","c":3}]}"#,
        r#"{"min_peers":{"hijak":2}}"#,
        r#"{"min_peers":{"bogon":-2}}"#,
        r#"{"end_pct":101}"#,
        r#"{"window_s":-1}"#,
        r#"{"rov_clears_origin":"yes"}"#,
        r#"{"allowances":[{"prefix":"198.51.100.0/24","from":2,"to":1}]}"#,
        r#"{"mute":[64500]}"#,
    ] {
        assert!(Judge::new(rules).is_err(), "{rules}");
    }
    assert!(Judge::new("{}").is_ok(), "no key is needed");
}

#[test]
fn lines_may_end_as_on_windows() {
    let rules = r#"{"rules":[{"prefix":"198.51.100.0/24","origins":[64496]}]}"#;
    let mut judge = Judge::new(rules).expect("usable rules");
    let update = message("A p1 198.51.100.0/24 64510 64497", 0, false) + "\r";
    assert_eq!(judge.line(&update).len(), 1);
    assert_eq!(judge.broken().0, 0);
}

#[test]
fn broken_lines_are_counted_and_the_first_are_kept() {
    let mut judge = Judge::new("{}").expect("usable rules");
    for _ in 0..100 {
        assert!(judge.line("no").is_empty());
    }
    for blank in ["", "\r", " \t"] {
        assert!(judge.line(blank).is_empty());
    }
    let (count, kept) = judge.broken();
    assert_eq!(count, 100);
    assert_eq!(kept.len(), super::BROKEN_KEPT);
    assert_eq!(kept[0].line, 1);
}

mod properties {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{Judge, Line};
    use crate::verdict::Phase;

    const RULES: &str = r#"{"rules":[
        {"prefix":"198.51.100.0/24","origins":[1],"neighbors":[2],"no_export":true,"path_policy":[{"maxLength":4}]},
        {"prefix":"198.51.100.0/26","origins":[1]},
        {"prefix":"2001:db8::/32","origins":[]}],
        "asns":[{"asn":1,"upstreams":[2]}],"end_pct":70,
        "vrps":[{"prefix":"198.51.100.0/24","max_length":25,"asn":1}],"vrps_after":[],
        "relations":[{"a":2,"b":1,"rel":"provider-of"},{"a":3,"b":1,"rel":"provider-of"}]}"#;

    fn update() -> impl Strategy<Value = String> {
        let prefix = prop::sample::select(vec![
            "198.51.100.0/24",
            "198.51.100.0/25",
            "198.51.100.0/26",
            "198.51.100.128/25",
            "2001:db8::/32",
            "2001:db8:1::/48",
            "203.0.113.0/24",
        ]);
        let path = prop::collection::vec(1_u32..6, 0..6);
        (0_u8..4, prefix, path, any::<bool>()).prop_map(|(peer, prefix, path, announced)| {
            let mut data =
                serde_json::json!({"type": "UPDATE", "peer": peer.to_string(), "timestamp": 1});
            let key = if announced {
                "announcements"
            } else {
                "withdrawals"
            };
            data[key] = if announced {
                data["path"] = serde_json::json!(path);
                serde_json::json!([{"prefixes": [prefix]}])
            } else {
                serde_json::json!([prefix])
            };
            serde_json::json!({"type": "ris_message", "data": data}).to_string()
        })
    }

    fn judged(updates: &[String]) -> Vec<Line> {
        let mut judge = Judge::new(RULES).expect("usable rules");
        let mut lines: Vec<Line> = updates
            .iter()
            .flat_map(|update| judge.line(update))
            .collect();
        lines.extend(judge.finish());
        lines
    }

    proptest! {
        #[test]
        fn starts_and_ends_alternate_and_all_is_over_when_every_route_is_gone(
            updates in prop::collection::vec(update(), 0..120),
        ) {
            let mut judge = Judge::new(RULES).expect("usable rules");
            let mut lines: Vec<Line> = updates.iter().flat_map(|update| judge.line(update)).collect();
            for peer in 0..4 {
                let down = format!(r#"{{"type":"ris_message","data":{{"type":"RIS_PEER_STATE","peer":"{peer}","state":"down"}}}}"#);
                lines.extend(judge.line(&down));
            }
            let mut open = BTreeSet::new();
            for line in &lines {
                let key = (line.class, line.prefix, line.offender);
                let fresh = match line.phase {
                    Phase::Start => open.insert(key),
                    Phase::End => open.remove(&key),
                };
                prop_assert!(fresh, "{line:?}");
            }
            prop_assert!(open.is_empty(), "{open:?}");
        }

        #[test]
        fn broken_lines_between_change_nothing_but_the_index(
            updates in prop::collection::vec(update(), 0..60),
            every in 1_usize..5,
        ) {
            let mut torn = Vec::new();
            for (index, update) in updates.iter().enumerate() {
                if index % every == 0 {
                    torn.push(update.chars().take(update.len() / 2).collect());
                }
                torn.push(update.clone());
            }
            let plain = |lines: Vec<Line>| -> Vec<Line> {
                lines.into_iter().map(|line| Line { after: None, ..line }).collect()
            };
            prop_assert_eq!(plain(judged(&updates)), plain(judged(&torn)));
        }
    }
}

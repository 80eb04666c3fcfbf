//! Hand-written recordings through the judge: each class, each nuisance, bad input.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Judge;

/// Where flows go: everything that a case can change.
#[derive(Clone)]
pub(super) struct Path {
    pub(super) access: String,
    pub(super) core: Vec<&'static str>,
    pub(super) border: Vec<&'static str>,
    pub(super) ingress: Vec<String>,
    pub(super) inside: &'static str,
    pub(super) public: &'static str,
    pub(super) edge: &'static str,
    pub(super) ingress_ms: u32,
    pub(super) black: bool,
    pub(super) addr: &'static str,
    /// Which of `ingress` each flow takes.
    pub(super) pick: [usize; 8],
}

const USUAL: [usize; 8] = [0, 1, 0, 1, 0, 1, 0, 1];

pub(super) fn usual() -> Path {
    Path {
        access: "198.18.1.1".into(),
        core: vec!["198.18.2.1", "198.18.2.2", "198.18.2.3"],
        border: vec!["198.18.2.9"],
        ingress: vec!["198.19.1.1".into(), "198.19.1.2".into()],
        inside: "198.19.1.9",
        public: "203.0.113.7",
        edge: "AMS",
        ingress_ms: 10,
        black: false,
        addr: "198.19.255.1",
        pick: USUAL,
    }
}

pub(super) fn world() -> Value {
    json!({
        "microsoft_asns": [64496],
        "prefix_as": [
            {"prefix": "198.18.1.0/24", "asn": 64510}, {"prefix": "203.0.113.0/24", "asn": 64510},
            {"prefix": "198.18.2.0/24", "asn": 64500}, {"prefix": "198.18.3.0/24", "asn": 64501},
            {"prefix": "198.18.4.0/24", "asn": 64511}, {"prefix": "192.0.2.0/24", "asn": 64511},
            {"prefix": "198.19.0.0/16", "asn": 64496}
        ],
        "ptr": {
            "198.19.1.1": "ae1-0.icr01.ams21.ntwk.msn.net", "198.19.1.2": "ae1-0.icr02.ams21.ntwk.msn.net",
            "198.19.1.11": "ae7-0.icr01.ams21.ntwk.msn.net", "198.19.1.3": "ae1-0.icr03.ams22.ntwk.msn.net",
            "198.19.1.4": "ae1-0.icr04.ams22.ntwk.msn.net",
            "198.19.2.1": "ae1-0.icr01.fra30.ntwk.msn.net", "198.19.2.2": "ae1-0.icr02.fra30.ntwk.msn.net"
        },
        "aliases": [],
        "pops": [{"code": "AMS", "metro": "AMS"}, {"code": "FRA", "metro": "FRA"}],
        "agents": {"a": {"site": "s", "country": "NL", "metro": "AMS", "provider_asn": 64500}, "b": {"provider_asn": 64500}},
        "plan": {"flows": 8, "tail_s": 30, "full_s": 120, "pulse_s": 5, "burst_s": 5, "burst_rounds": 6}
    })
}

fn round(agent: &str, ts: f64, stream: &str, path: &Path) -> String {
    let flows: Vec<Value> = (0..8_usize)
        .map(|flow| {
            let mut hops: Vec<Option<String>> = vec![Some("192.168.1.1".into()), Some(path.access.clone())];
            hops.extend(path.core.iter().map(|hop| Some((*hop).to_owned())));
            hops.push(Some(path.border[flow % path.border.len()].to_owned()));
            hops.push(path.ingress.get(path.pick[flow] % path.ingress.len().max(1)).cloned().filter(|hop| !hop.is_empty()));
            hops.push(Some(path.inside.to_owned()).filter(|hop| !hop.is_empty()));
            let rtt: Vec<Option<u32>> = (0..hops.len())
                .map(|hop| Some(if hop >= 6 { path.ingress_ms * 1000 + 10 } else { 3_000 }))
                .collect();
            if path.black {
                hops.iter_mut().skip(4).for_each(|hop| *hop = None);
            }
            let first = if stream == "full" || stream == "refresh" { 0 } else { 4 };
            json!({"flow": flow, "first_ttl": first + 1, "hops": hops[first..], "rtt_us": rtt[first..], "reached": false})
        })
        .collect();
    json!({"kind": "round", "agent": agent, "target": "edge", "addr": path.addr, "ts": ts, "stream": stream,
           "public": path.public, "edge": path.edge, "flows": flows})
    .to_string()
}

/// A recording that can be played on.
pub(super) struct Recording {
    pub(super) lines: String,
    pub(super) now: f64,
}

impl Recording {
    /// Learned: 20 full rounds, a refresh, an hour of tail rounds.
    pub(super) fn learned() -> Self {
        Self::of(&usual())
    }

    /// The same of another path.
    pub(super) fn of(path: &Path) -> Self {
        let mut recording = Self {
            lines: String::new(),
            now: 1_000_000.0,
        };
        for _ in 0..20 {
            recording.one("full", path, 8.0);
        }
        recording.one("refresh", path, 10.0);
        recording.play(path, 3_600.0);
        recording
    }

    pub(super) fn one(&mut self, stream: &str, path: &Path, after: f64) {
        self.now += after;
        writeln!(self.lines, "{}", round("a", self.now, stream, path)).unwrap();
    }

    /// Tail rounds each 30 s, a full one each 120 s, a pulse each 5 s.
    pub(super) fn play(&mut self, path: &Path, seconds: f64) {
        let end = self.now + seconds;
        let mut tick = 0;
        while self.now < end {
            self.now += 5.0;
            tick += 1;
            let rtt = if path.black {
                Value::Null
            } else {
                json!(path.ingress_ms * 1000 + 500)
            };
            let pulse = json!({"kind": "pulse", "agent": "a", "target": "edge", "ts": self.now, "flow": 0, "rtt_us": rtt});
            writeln!(self.lines, "{pulse}").unwrap();
            if tick % 6 == 0 {
                let stream = if tick % 24 == 0 { "full" } else { "tail" };
                self.one(stream, path, 0.5);
                self.now -= 0.5;
            }
        }
    }

    /// A burst of six rounds, the first with all hops.
    pub(super) fn burst(&mut self, path: &Path) {
        self.one("full", path, 5.0);
        for _ in 0..5 {
            self.one("burst", path, 5.0);
        }
    }

    pub(super) fn moved(&mut self, path: &Path, seconds: f64) {
        self.burst(path);
        self.play(path, seconds);
    }

    pub(super) fn judged(&self) -> Vec<Value> {
        judge(&self.lines)
    }
}

fn judge(lines: &str) -> Vec<Value> {
    judge_with(&world(), lines)
}

pub(super) fn judge_with(tables: &Value, lines: &str) -> Vec<Value> {
    let mut judge = Judge::new(&tables.to_string()).unwrap();
    lines.lines().for_each(|line| judge.line(line));
    judge
        .finish()
        .iter()
        .map(|line| serde_json::to_value(line).unwrap())
        .collect()
}

/// Phase, class and status of each line but notices and groups.
fn told(lines: &[Value]) -> Vec<(String, String, String)> {
    let word = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    lines
        .iter()
        .filter(|line| line.get("agent").is_some() && line["phase"] != "notify")
        .map(|line| {
            (
                word(line, "phase"),
                word(line, "class"),
                word(line, "status"),
            )
        })
        .collect()
}

pub(super) fn claims(lines: &[Value]) -> Vec<(String, String)> {
    let claimed = told(lines).into_iter().filter(|line| line.2 == "event");
    claimed.map(|(phase, class, _)| (phase, class)).collect()
}

pub(super) fn case(class: &str) -> Path {
    let mut path = usual();
    match class {
        "local" => path.ingress = vec!["198.19.1.3".into(), "198.19.1.4".into()],
        "geo" => {
            path.ingress = vec!["198.19.2.1".into(), "198.19.2.2".into()];
            path.inside = "198.19.2.9";
            path.ingress_ms = 17;
        }
        "provider" => {
            path.core = vec!["198.18.3.1", "198.18.3.2", "198.18.3.3"];
            path.border = vec!["198.18.3.9"];
        }
        "uplink" => {
            path = case("provider");
            path.access = "198.18.4.1".into();
            path.public = "192.0.2.7";
        }
        "unreachable" => path.black = true,
        "redundancy_lost" => path.pick = [0; 8],
        "front_door_moved" => path.edge = "FRA",
        "partial_geo" => {
            path.ingress = vec![
                "198.19.1.1".into(),
                "198.19.1.2".into(),
                "198.19.2.1".into(),
            ];
            path.pick = [0, 1, 0, 2, 0, 2, 0, 2];
        }
        other => panic!("{other} is no case"),
    }
    path
}

#[test]
fn each_class_starts_and_ends_once_with_its_onset() {
    for class in [
        "local",
        "geo",
        "provider",
        "uplink",
        "unreachable",
        "redundancy_lost",
        "front_door_moved",
        "partial_geo",
    ] {
        let mut recording = Recording::learned();
        let before = recording.now;
        recording.moved(&case(class), 1_800.0);
        let back = recording.now;
        recording.moved(&usual(), 1_800.0);
        let lines = recording.judged();
        let want = [
            ("start".to_owned(), class.to_owned()),
            ("end".to_owned(), class.to_owned()),
        ];
        assert_eq!(claims(&lines), want, "{class}");
        let start = lines
            .iter()
            .find(|line| line["phase"] == "start" && line["status"] == "event")
            .unwrap();
        let onset = [
            start["onset"][0].as_f64().unwrap(),
            start["onset"][1].as_f64().unwrap(),
        ];
        assert!(
            onset[0] <= before + 0.6 && before <= onset[1],
            "{class}: {onset:?} {before}"
        );
        let end = lines
            .iter()
            .find(|line| line["phase"] == "end" && line["status"] == "event")
            .unwrap();
        assert_eq!(end["end"], "recovery", "{class}");
        assert!(end["ts"].as_f64().unwrap() - back < 62.0, "{class}: {end}");
        assert!(
            lines.iter().any(|line| line["phase"] == "notify"),
            "{class}"
        );
        assert!(lines.last().unwrap().get("summary").is_some());
    }
}

#[test]
fn what_moved_is_named() {
    for (class, from, to) in [
        ("geo", json!("AMS"), json!("FRA")),
        ("provider", json!(64500), json!(64501)),
        ("uplink", json!(64510), json!(64511)),
        ("front_door_moved", json!("AMS"), json!("FRA")),
    ] {
        let mut recording = Recording::learned();
        recording.moved(&case(class), 600.0);
        let lines = recording.judged();
        let start = lines
            .iter()
            .find(|line| line["phase"] == "start" && line["status"] == "event")
            .unwrap();
        assert_eq!((&start["from"], &start["to"]), (&from, &to), "{class}");
    }
}

#[test]
fn a_shift_of_a_minute_is_recorded_and_brief() {
    let mut recording = Recording::learned();
    recording.burst(&case("geo"));
    recording.play(&case("geo"), 30.0);
    recording.moved(&usual(), 600.0);
    let lines = recording.judged();
    let events: Vec<&Value> = lines
        .iter()
        .filter(|line| line["status"] == "event")
        .collect();
    assert_eq!(events.len(), 2, "no notice: {events:?}");
    assert!(
        events.iter().all(|event| event["brief"] == true),
        "{events:?}"
    );
}

#[test]
fn a_day_on_the_new_path_makes_it_usual() {
    let mut recording = Recording::learned();
    recording.moved(&case("geo"), 25.0 * 3_600.0);
    let lines = recording.judged();
    assert_eq!(claims(&lines).len(), 2);
    let end = lines.iter().find(|line| line["phase"] == "end").unwrap();
    assert_eq!(end["end"], "new_normal");
}

pub(super) fn quiet(name: &str, recording: &Recording) {
    let lines = recording.judged();
    assert_eq!(claims(&lines), Vec::<(String, String)>::new(), "{name}");
}

#[test]
fn nuisances_are_no_events() {
    let with = |change: fn(&mut Path)| {
        let mut path = usual();
        change(&mut path);
        let mut recording = Recording::learned();
        recording.moved(&path, 1_800.0);
        recording.moved(&usual(), 1_800.0);
        recording
    };
    quiet("remap", &with(|path| path.pick = [1, 0, 1, 1, 0, 0, 1, 0]));
    quiet(
        "known alias",
        &with(|path| path.ingress[0] = "198.19.1.11".into()),
    );
    quiet(
        "unknown alias",
        &with(|path| path.ingress = vec!["198.19.1.77".into()]),
    );
    quiet(
        "member of the provider",
        &with(|path| path.core = vec!["198.18.2.1", "198.18.2.77", "198.18.2.3"]),
    );
    quiet(
        "silent ingress",
        &with(|path| path.ingress = vec![String::new()]),
    );
    quiet("NAT", &with(|path| path.public = "203.0.113.200"));
    quiet("slower", &with(|path| path.ingress_ms = 30));
    quiet("rotation", &with(|path| path.addr = "198.19.255.2"));
}

#[test]
fn a_transient_shorter_than_the_confirmation_is_no_event() {
    let mut recording = Recording::learned();
    recording.one("tail", &case("geo"), 5.0);
    recording.one("burst", &usual(), 5.0);
    recording.one("burst", &usual(), 5.0);
    recording.play(&usual(), 600.0);
    quiet("transient", &recording);
    let lines = recording.judged();
    assert_eq!(lines.last().unwrap()["summary"]["transients"], 1);
}

#[test]
fn a_replaced_map_is_no_event() {
    let mut recording = Recording::learned();
    let mut tables = world();
    tables["prefix_as"][2]["asn"] = json!(64505);
    tables["ptr"]["198.19.1.1"] = json!("ae1-0.icr01.fra30.ntwk.msn.net");
    let line = json!({"kind": "world", "ts": recording.now, "prefix_as": tables["prefix_as"], "ptr": tables["ptr"]});
    writeln!(recording.lines, "{line}").unwrap();
    recording.play(&usual(), 3_600.0);
    quiet("map", &recording);
    recording.moved(&case("provider"), 600.0);
    assert_eq!(
        claims(&recording.judged()).len(),
        1,
        "what moves after it is still seen"
    );
}

#[test]
fn replays_disorder_and_rubbish_are_no_events() {
    let mut recording = Recording::learned();
    let moved_from = recording.lines.len();
    recording.moved(&case("geo"), 900.0);
    let moved_to = recording.lines.len();
    recording.moved(&usual(), 900.0);
    let want = claims(&recording.judged());
    let replay = recording
        .lines
        .get(moved_from..moved_to)
        .unwrap()
        .to_owned();
    recording.lines.push_str(&replay);
    recording
        .lines
        .push_str("{\"kind\":\"round\"}\nrubbish\n\n");
    recording.play(&usual(), 900.0);
    assert_eq!(claims(&recording.judged()), want);
    let mut judge = Judge::new(&world().to_string()).unwrap();
    recording.lines.lines().for_each(|line| judge.line(line));
    assert_eq!(judge.broken().0, 2);
}

#[test]
fn two_agents_that_move_alike_are_one_incident() {
    let mut recording = Recording::learned();
    recording.moved(&case("geo"), 600.0);
    recording.moved(&usual(), 600.0);
    let both: String = recording
        .lines
        .lines()
        .flat_map(|line| {
            [
                line.to_owned(),
                line.replace("\"agent\":\"a\"", "\"agent\":\"b\""),
            ]
        })
        .fold(String::new(), |text, line| text + &line + "\n");
    let lines = judge(&both);
    let groups: Vec<&Value> = lines
        .iter()
        .filter(|line| line.get("agents").is_some())
        .collect();
    assert_eq!(groups.len(), 2, "{groups:?}");
    assert_eq!(
        (&groups[0]["phase"], &groups[1]["phase"]),
        (&json!("start"), &json!("end"))
    );
    assert_eq!(groups[0]["agents"], json!(["a", "b"]));
    let members: Vec<&Value> = lines
        .iter()
        .filter(|line| line.get("agent").is_some())
        .map(|line| &line["incident"])
        .collect();
    assert!(
        members.iter().all(|id| **id == groups[0]["incident"]),
        "{members:?}"
    );
}

#[test]
fn an_unknown_key_of_the_world_is_an_error() {
    let mut tables = world();
    tables["plan"]["tail"] = json!(30);
    assert!(Judge::new(&tables.to_string()).is_err());
}

#[test]
fn a_restart_at_any_time_changes_nothing() {
    let mut recording = Recording::learned();
    for class in ["geo", "redundancy_lost", "unreachable"] {
        recording.moved(&case(class), 600.0);
        recording.moved(&usual(), 600.0);
    }
    let want = told(&recording.judged());
    let mut judge = Judge::new(&world().to_string()).unwrap();
    for (number, line) in recording.lines.lines().enumerate() {
        judge.line(line);
        if number % 37 == 0 {
            for memory in judge
                .memories
                .values_mut()
                .flat_map(|targets| targets.values_mut())
            {
                let text = serde_json::to_string(memory).unwrap();
                *memory = serde_json::from_str(&text).unwrap();
            }
        }
    }
    let lines: Vec<Value> = judge
        .finish()
        .iter()
        .map(|line| serde_json::to_value(line).unwrap())
        .collect();
    assert_eq!(told(&lines), want);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_comes_each_event_ends_at_most_once_and_the_state_stays_small(
        steps in prop::collection::vec((0..6_usize, -40.0..200.0_f64, 0..8_usize, any::<bool>()), 1..160)
    ) {
        let classes = ["local", "geo", "provider", "uplink", "partial_geo", "redundancy_lost"];
        let mut recording = Recording::learned();
        for (class, after, shape, usual_path) in steps {
            let mut path = if usual_path { usual() } else { case(classes[class]) };
            path.pick.rotate_left(shape);
            if shape == 7 {
                path.border = vec!["198.19.1.1", "198.18.2.9"]; // an impossible hop: the ingress before itself
            }
            recording.one(["tail", "full", "burst", "refresh"][shape % 4], &path, after);
        }
        let mut judge = Judge::new(&world().to_string()).unwrap();
        recording.lines.lines().for_each(|line| judge.line(line));
        prop_assert!(judge.state_bytes() <= 4_096, "{}", judge.state_bytes());
        let lines: Vec<Value> = judge.finish().iter().map(|line| serde_json::to_value(line).unwrap()).collect();
        for class in classes {
            let mut open = 0;
            for (phase, of) in claims(&lines) {
                if of == class {
                    open += if phase == "start" { 1 } else { -1 };
                    prop_assert!((0..=1).contains(&open), "{class}: {phase}");
                }
            }
        }
        for line in lines.iter().filter(|line| line.get("agent").is_some()) {
            prop_assert!(line["onset"][0].as_f64() <= line["onset"][1].as_f64(), "{line}");
        }
    }
}

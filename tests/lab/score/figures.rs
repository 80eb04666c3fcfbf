//! Moves that were made against events that were flagged: the keys of `bench shift`, from the lab. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::check::api::Event;

/// A claim may be so much before the truth, or after the bound, and still be of this move, ms: one tail round.
const ROUND_MS: i64 = 31_000;
/// What lasts no longer is brief, and is not scored, ms.
const BRIEF_MS: i64 = 120_000;

/// A move of one path that was made to happen.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Move {
    /// Name of what was done.
    pub(super) event: String,
    /// Times before and after the kernel was told, Unix ms.
    pub(super) action_unix_ms: [i64; 2],
    /// The site.
    pub(super) site: String,
    /// The target's name at the collector.
    pub(super) target: String,
    /// What an event of it is called.
    pub(super) class: &'static str,
    /// Last look at the forwarding tables that showed the old path, and first that showed the new one: no packet took the new
    /// path before the one, every packet does after the other. Unix ms.
    pub(super) path_unix_ms: [i64; 2],
    /// First look that showed the old path again; absent while it did not.
    pub(super) back_unix_ms: Option<i64>,
    /// From the first look that showed the new path to the round that decided, seconds; absent when it was not flagged.
    pub(super) delay_s: Option<f64>,
    /// What it was called.
    pub(super) flagged: Option<String>,
    /// Whether it was closed after the old path was back.
    pub(super) closed: bool,
}

/// Seconds from a move to its event at most.
fn bound_ms(class: &str) -> i64 {
    match class {
        "geo" | "local" | "provider" => 42_000,
        "uplink" => 132_000,
        "unreachable" => 62_000,
        _ => 420_000,
    }
}

/// Counts of a class.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    claimed: f64,
    right: f64,
    made: f64,
    found: f64,
}

/// The whole score.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    by_class: BTreeMap<String, Shares>,
    matched: f64,
    class_right: f64,
    delays: Vec<f64>,
    over_bound: f64,
    covered: f64,
    bins: [(f64, f64, f64); 10],
    false_texts: Vec<String>,
}

impl Figures {
    /// Matches events to the moves of one repetition; `excused` says whether a path was on its way meanwhile.
    pub(super) fn add(
        &mut self,
        moves: &mut [Move],
        events: &[Event],
        excused: &dyn Fn(&Event) -> bool,
    ) {
        let mut used = vec![false; events.len()];
        for made in moves.iter_mut() {
            let near = |event: &Event| {
                let latest = made.path_unix_ms[1] + bound_ms(made.class) + ROUND_MS;
                let within = made.path_unix_ms[0] - ROUND_MS..=latest;
                event.is_claim() && event.is_of(made) && within.contains(&event.detected_unix_ms)
            };
            let mut fitting: Vec<usize> = (0..events.len())
                .filter(|index| !used.get(*index).copied().unwrap_or(true))
                .filter(|index| events.get(*index).is_some_and(near))
                .collect();
            fitting.sort_by_key(|index| events.get(*index).map(|event| event.class != made.class));
            let best = fitting
                .first()
                .and_then(|index| Some((*index, events.get(*index)?)));
            self.by_class.entry(made.class.to_owned()).or_default().made += 1.0;
            if let Some((index, event)) = best {
                if let Some(used) = used.get_mut(index) {
                    *used = true;
                }
                self.pair(made, event);
            }
        }
        for (event, used) in events.iter().zip(used) {
            let came_true =
                used || (!event.is_claim() && moves.iter().any(|made| event.is_near(made)));
            if used || !excused(event) {
                self.calibrate(event, came_true);
            }
            if event.is_claim() && !used && !excused(event) {
                self.by_class
                    .entry(event.class.clone())
                    .or_default()
                    .claimed += 1.0;
                self.false_texts.push(format!(
                    "{} at {} to {}: {}",
                    event.class, event.site_name, event.target, event.text
                ));
            }
        }
    }

    fn pair(&mut self, made: &mut Move, event: &Event) {
        let right = event.class == made.class;
        let one = f64::from(u8::from(right));
        let claimed = self.by_class.entry(event.class.clone()).or_default();
        claimed.claimed += 1.0;
        claimed.right += one;
        self.by_class
            .entry(made.class.to_owned())
            .or_default()
            .found += one;
        self.matched += 1.0;
        self.class_right += one;
        let late_ms = event.detected_unix_ms - made.path_unix_ms[1];
        let delay_s = seconds(late_ms);
        made.delay_s = Some(delay_s);
        made.flagged = Some(event.class.clone());
        made.closed = event.ended_unix_ms.is_some();
        self.delays.push(delay_s);
        self.over_bound += f64::from(u8::from(late_ms > bound_ms(made.class)));
        let covered = event.last_good_unix_ms <= made.path_unix_ms[1]
            && made.path_unix_ms[0] <= event.first_novel_unix_ms;
        self.covered += f64::from(u8::from(covered));
    }

    fn calibrate(&mut self, event: &Event, came_true: bool) {
        let Some(confidence) = event.confidence else {
            return;
        };
        let tenth = (1..10_u32)
            .filter(|tenth| confidence >= f64::from(*tenth) / 10.0)
            .count();
        if let Some(bin) = self.bins.get_mut(tenth) {
            *bin = (
                bin.0 + 1.0,
                bin.1 + confidence,
                bin.2 + f64::from(u8::from(came_true)),
            );
        }
    }

    /// By name, as `bench shift` calls them; what a lab cannot tell is null.
    pub(super) fn named(&self, agent_days: f64) -> Value {
        let mut all = BTreeMap::new();
        let share = |part: f64, whole: f64| {
            if whole > 0.0 {
                json!(part / whole)
            } else {
                Value::Null
            }
        };
        for class in [
            "geo",
            "provider",
            "local",
            "redundancy_lost",
            "uplink",
            "unreachable",
            "front_door_moved",
        ] {
            let of = self.by_class.get(class).copied().unwrap_or_default();
            all.insert(format!("{class}_p"), share(of.right, of.claimed));
            all.insert(format!("{class}_r"), share(of.found, of.made));
            all.insert(format!("{class}_n"), json!(of.made));
        }
        let claims: f64 = self.bins.iter().map(|bin| bin.0).sum();
        let error: f64 = self.bins.iter().map(|bin| (bin.1 - bin.2).abs()).sum();
        let false_count = f64::from(u32::try_from(self.false_texts.len()).unwrap_or(u32::MAX));
        for (key, value) in [
            ("class_right", share(self.class_right, self.matched)),
            ("false_per_agent_day", share(false_count, agent_days)),
            ("delay_s_p50", percentile(&self.delays, 0.5)),
            ("delay_s_p95", percentile(&self.delays, 0.95)),
            ("over_bound", share(self.over_bound, self.matched)),
            ("onset_coverage", share(self.covered, self.matched)),
            ("ece", share(error, claims)),
            ("agent_days", json!(agent_days)),
            ("false_events", json!(self.false_texts)),
            ("observable_ratio", json!(1.0)),
            ("remap_false_per_agent_day", Value::Null),
            ("classic_false_per_agent_day", Value::Null),
            ("rounds_per_s_core", Value::Null),
            ("state_bytes", Value::Null),
        ] {
            all.insert(key.to_owned(), value);
        }
        json!(all)
    }
}

impl Event {
    /// Whether it claims something; what lasted two minutes at most is scored apart.
    fn is_claim(&self) -> bool {
        let lasted = self
            .ended_unix_ms
            .map(|ended| ended - self.first_novel_unix_ms);
        let brief = self.brief || lasted.is_some_and(|lasted| lasted < BRIEF_MS / 4);
        self.status == "event" && !brief
    }

    fn is_of(&self, made: &Move) -> bool {
        self.site_name == made.site && self.target == made.target
    }

    fn is_near(&self, made: &Move) -> bool {
        let latest = made.path_unix_ms[1] + bound_ms(made.class) + ROUND_MS;
        self.is_of(made)
            && (made.path_unix_ms[0] - ROUND_MS..=latest).contains(&self.detected_unix_ms)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a lab lasts some hours")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

/// The lowest value that such a share of them does not exceed.
fn percentile(values: &[f64], share: f64) -> Value {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let below = |index: &usize| count(index + 1) < share * count(sorted.len());
    let index = (0..sorted.len()).filter(below).count();
    sorted.get(index).map_or(Value::Null, |value| json!(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(class: &'static str) -> Move {
        Move {
            event: "pop".into(),
            action_unix_ms: [1_000_000, 1_000_010],
            site: "paris".into(),
            target: "exchange".into(),
            class,
            path_unix_ms: [1_000_000, 1_000_400],
            back_unix_ms: None,
            delay_s: None,
            flagged: None,
            closed: false,
        }
    }

    fn event(class: &str, detected_unix_ms: i64) -> Event {
        serde_json::from_value(json!({
            "event_id": "e", "class": class, "site_name": "paris", "target": "exchange", "text": "", "status": "event",
            "detected_unix_ms": detected_unix_ms, "last_good_unix_ms": 999_000, "first_novel_unix_ms": 1_005_000, "confidence": 0.95
        }))
        .expect("an event")
    }

    #[test]
    fn a_move_is_matched_by_the_event_of_its_class_and_the_rest_is_false() {
        let mut figures = Figures::default();
        let mut moves = [made("geo")];
        let events = [
            event("local", 1_010_000),
            event("geo", 1_020_400),
            event("geo", 2_000_000),
        ];
        figures.add(&mut moves, &events, &|_| false);
        assert_eq!(moves[0].delay_s, Some(20.0));
        let named = figures.named(1.0);
        let keys = [
            "geo_r",
            "geo_p",
            "local_p",
            "class_right",
            "over_bound",
            "onset_coverage",
            "false_per_agent_day",
        ];
        let values = keys.map(|key| named[key].clone());
        assert_eq!(
            values,
            [1.0, 0.5, 0.0, 1.0, 0.0, 1.0, 2.0].map(|value| json!(value))
        );
        assert_eq!(named["provider_p"], Value::Null);
    }

    #[test]
    fn what_is_called_by_another_class_is_found_but_not_right() {
        let mut figures = Figures::default();
        figures.add(&mut [made("provider")], &[event("geo", 1_060_000)], &|_| {
            false
        });
        let named = figures.named(1.0);
        let keys = ["provider_r", "geo_p", "class_right", "over_bound"];
        assert_eq!(
            keys.map(|key| named[key].clone()),
            [0.0, 0.0, 0.0, 1.0].map(|value| json!(value))
        );
    }
}

//! What a notification says, whatever channel carries it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::model::{self, Level};

/// Names listed in one message; more are counted.
pub const NAMES_MAX: usize = 20;

/// Which message of an incident it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = NotificationPhase)]
pub enum Phase {
    /// It began.
    Start,
    /// It goes on; sent only where asked for, and to channels that forget what is not said again.
    Update,
    /// It is over.
    End,
    /// It comes and goes: one message for many moves.
    Digest,
    /// Somebody tries the channel out.
    Test,
}

impl Phase {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Update => "update",
            Self::End => "end",
            Self::Digest => "digest",
            Self::Test => "test",
        }
    }
}

/// What an incident costs its users: how far the RTT moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = NotificationCost)]
pub struct Cost {
    /// How far the RTT moved, microseconds; positive is slower.
    pub delta_us: i64,
    /// Lower end of its confidence interval, where known.
    pub low_us: Option<i64>,
    /// Upper end of its confidence interval, where known.
    pub high_us: Option<i64>,
}

/// One notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Notification)]
pub struct Notice {
    /// Version of this form: fields are added, never renamed; another meaning is another version.
    pub version: u32,
    /// Identity of this message: the same whenever it is sent again, so a receiver can drop doubles.
    pub message_id: String,
    /// Identity of the incident.
    pub incident_id: String,
    /// Order of the messages of an incident, from 1.
    pub sequence: u32,
    /// Which message of the incident it is.
    pub phase: Phase,
    /// Type of the event, such as `PathGeoFailoverEvent`.
    pub event_type: String,
    /// How grave it is.
    pub event_level: Level,
    /// Class of the incident, such as `geo`.
    pub class: String,
    /// One sentence for people.
    pub summary: String,
    /// What was before, where known.
    pub from: Option<String>,
    /// What is now, where known.
    pub to: Option<String>,
    /// AS number of the provider, where known.
    pub provider_asn: Option<u32>,
    /// The prefix that it is about, where it is about one.
    pub prefix: Option<String>,
    /// Geographies of the affected sites: countries or subdivisions, sorted, at most 20.
    pub geographies: Vec<String>,
    /// Names of the affected sites, sorted, at most 20.
    pub sites: Vec<String>,
    /// Sites affected.
    pub sites_affected: u32,
    /// Targets affected, sorted, at most 20.
    pub targets: Vec<String>,
    /// Agents affected.
    pub agents_affected: u32,
    /// It happened after this.
    pub onset_from_unix_ms: i64,
    /// It happened before this.
    pub onset_to_unix_ms: i64,
    /// When it was decided.
    pub decided_unix_ms: i64,
    /// When it was over; only at the end.
    pub ended_unix_ms: Option<i64>,
    /// How it ended, such as `recovery`; only at the end.
    pub ending: Option<String>,
    /// Share of such claims that come true, 0 to 1.
    pub confidence_ratio: Option<f64>,
    /// Why, one reason a line.
    pub reasons: Vec<String>,
    /// What it costs, where known.
    pub cost: Option<Cost>,
    /// How often it came back, for an incident that comes and goes.
    pub reopenings: u32,
    /// Where the dashboard shows it, where the collector knows its own address.
    pub link: Option<String>,
}

impl Notice {
    /// The message that `notify test` sends: all of its content is marked as a test.
    pub fn test(unique: Uuid, now_unix_ms: i64, link: Option<String>) -> Self {
        let incident_id = format!("test-{unique}");
        Self {
            version: 1,
            message_id: message_id(&incident_id, 1),
            incident_id,
            sequence: 1,
            phase: Phase::Test,
            event_type: "FirstmileTestEvent".to_owned(),
            event_level: Level::Information,
            class: "test".to_owned(),
            summary: "This is a test of firstmile's notifications; nothing happened".to_owned(),
            from: None,
            to: None,
            provider_asn: None,
            prefix: None,
            geographies: Vec::new(),
            sites: Vec::new(),
            sites_affected: 0,
            targets: Vec::new(),
            agents_affected: 0,
            onset_from_unix_ms: now_unix_ms,
            onset_to_unix_ms: now_unix_ms,
            decided_unix_ms: now_unix_ms,
            ended_unix_ms: None,
            ending: None,
            confidence_ratio: None,
            reasons: vec!["somebody ran `firstmile-collector notify test`".to_owned()],
            cost: None,
            reopenings: 0,
            link,
        }
    }

    /// Title for people: what it is and where it stands.
    pub fn title(&self) -> String {
        let what = self.summary.as_str();
        match self.phase {
            Phase::Start => format!("[{}] {what}", self.event_level.as_str()),
            Phase::Update => format!("[{}, goes on] {what}", self.event_level.as_str()),
            Phase::End => format!("[over] {what}"),
            Phase::Digest => format!("[flapping] {what}"),
            Phase::Test => format!("[test] {what}"),
        }
    }

    /// The facts for people, name and value, those that are known.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("Event", self.event_type.clone())];
        let mut add = |name, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                facts.push((name, value));
            }
        };
        add("From", self.from.clone());
        add("To", self.to.clone());
        add("Provider", self.provider_asn.map(|asn| format!("AS{asn}")));
        add("Prefix", self.prefix.clone());
        add("Geographies", Some(self.geographies.join(", ")));
        add("Sites", Some(listed(&self.sites, self.sites_affected)));
        add("Targets", Some(self.targets.join(", ")));
        let agents = (self.agents_affected > 0).then(|| self.agents_affected.to_string());
        add("Agents affected", agents);
        add("Began", Some(self.onset()));
        add("Over", self.ended_unix_ms.map(utc));
        add("Ending", self.ending.clone());
        add("RTT", self.cost.map(cost_text));
        let comes_back = (self.reopenings > 0).then(|| format!("{} times", self.reopenings));
        add("Came back", comes_back);
        add(
            "Confidence",
            self.confidence_ratio.map(|ratio| format!("{ratio:.3}")),
        );
        facts
    }

    fn onset(&self) -> String {
        if self.onset_from_unix_ms >= self.onset_to_unix_ms {
            return utc(self.onset_to_unix_ms);
        }
        let (from, to) = (utc(self.onset_from_unix_ms), utc(self.onset_to_unix_ms));
        format!("between {from} and {to}")
    }
}

/// Identity of a message: the same incident and place in its order make the same one (RFC 9562 §5.5).
pub fn message_id(incident_id: &str, sequence: u32) -> String {
    let name = format!("firstmile/notice/{incident_id}/{sequence}");
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
}

/// Type and level of a class; one that nobody named is a warning.
pub fn event_type(class: &str) -> (&'static str, Level) {
    model::of_class(class).map_or(("IncidentEvent", Level::Warning), |one| {
        (one.event_type, one.level)
    })
}

/// A time for people, UTC, whole seconds.
pub fn utc(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(
        |_| "an impossible time".to_owned(),
        |moment| moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// A time for machines (RFC 3339 §5.6), milliseconds.
pub fn rfc3339(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(
        |_| "1970-01-01T00:00:00.000Z".to_owned(),
        |moment| moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    )
}

fn listed(names: &[String], all: u32) -> String {
    let text = names.join(", ");
    let more = all.saturating_sub(u32::try_from(names.len()).unwrap_or(u32::MAX));
    if more > 0 {
        format!("{text} and {more} more")
    } else {
        text
    }
}

fn cost_text(cost: Cost) -> String {
    let moved = format!("{} ms", signed_ms(cost.delta_us));
    match (cost.low_us, cost.high_us) {
        (Some(low), Some(high)) => {
            format!("{moved} ({} to {} ms)", signed_ms(low), signed_ms(high))
        }
        _ => moved,
    }
}

/// Milliseconds with one decimal and their sign.
fn signed_ms(us: i64) -> String {
    let sign = if us < 0 { '-' } else { '+' };
    let tenths = (us.unsigned_abs() + 50) / 100;
    format!("{sign}{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example(phase: Phase) -> Notice {
        let ended = (phase == Phase::End).then_some(1_767_226_200_000);
        Notice {
            version: 1,
            message_id: message_id("7f0c", 1),
            incident_id: "7f0c".to_owned(),
            sequence: 1,
            phase,
            event_type: "PathGeoFailoverEvent".to_owned(),
            event_level: Level::Error,
            class: "geo".to_owned(),
            summary: "ingress moved from Amsterdam to Frankfurt for 2 agents".to_owned(),
            from: Some("Amsterdam".to_owned()),
            to: Some("Frankfurt".to_owned()),
            provider_asn: Some(64500),
            prefix: None,
            geographies: vec!["NL".to_owned()],
            sites: vec!["Branch <1> & \"co\"".to_owned(), "Utrecht]".to_owned()],
            sites_affected: 23,
            targets: vec!["exchange".to_owned()],
            agents_affected: 25,
            onset_from_unix_ms: 1_767_225_600_000,
            onset_to_unix_ms: 1_767_225_630_000,
            decided_unix_ms: 1_767_225_641_000,
            ended_unix_ms: ended,
            ending: ended.map(|_| "recovery".to_owned()),
            confidence_ratio: Some(0.985),
            reasons: vec!["all 8 flows moved +1.5".to_owned()],
            cost: Some(Cost {
                delta_us: 7_140,
                low_us: Some(6_900),
                high_us: Some(7_400),
            }),
            reopenings: 0,
            link: Some("https://collector.example/incidents/7f0c".to_owned()),
        }
    }

    #[test]
    fn a_message_has_one_identity_and_another_one_another() {
        assert_eq!(message_id("a", 1), message_id("a", 1));
        assert_ne!(message_id("a", 1), message_id("a", 2));
        assert_ne!(message_id("a", 1), message_id("b", 1));
    }

    #[test]
    fn people_read_times_in_utc_and_costs_with_their_sign() {
        let facts = example(Phase::Start).facts();
        let fact = |name: &str| facts.iter().find(|fact| fact.0 == name).unwrap().1.clone();
        assert_eq!(
            fact("Began"),
            "between 2026-01-01 00:00:00 UTC and 2026-01-01 00:00:30 UTC"
        );
        assert_eq!(fact("RTT"), "+7.1 ms (+6.9 to +7.4 ms)");
        assert!(fact("Sites").ends_with("and 21 more"));
        assert_eq!(signed_ms(-49), "-0.0");
        assert_eq!(signed_ms(-12_951), "-13.0");
        assert_eq!(rfc3339(1_767_225_600_007), "2026-01-01T00:00:00.007Z");
    }
}

//! What is told of an incident, from its first look to its end.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const BEGAN: i64 = 1_767_225_600_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

pub(crate) fn affected(number: u32, geography: &str) -> Affected {
    Affected {
        agent: format!("agent-{number}"),
        site: format!("site-{number}"),
        site_name: format!("Branch {number}"),
        geography: Some(geography.to_owned()),
        target: "exchange".to_owned(),
    }
}

/// Two agents at two sites, decided 40 s after it happened.
pub(crate) fn incident() -> Incident {
    Incident {
        id: "7f0c".to_owned(),
        class: "geo".to_owned(),
        open: true,
        from: Some("Amsterdam".to_owned()),
        to: Some("Frankfurt".to_owned()),
        to_asn: None,
        provider_asn: Some(64500),
        prefix: None,
        severity: None,
        affected: vec![affected(1, "NL-NH"), affected(2, "US-CA")],
        onset_from_unix_ms: BEGAN - 30 * SECOND,
        onset_to_unix_ms: BEGAN,
        decided_unix_ms: BEGAN + 40 * SECOND,
        ended_unix_ms: None,
        ending: None,
        confidence_ratio: Some(0.98),
        reasons: vec!["all 8 flows moved +1.5".to_owned()],
        cost: None,
        reopenings: 0,
        late: false,
        summary: "ingress moved from Amsterdam to Frankfurt".to_owned(),
    }
}

fn alone(class: &str) -> Incident {
    Incident {
        class: class.to_owned(),
        affected: vec![affected(1, "NL")],
        ..incident()
    }
}

fn settings() -> Settings {
    Settings {
        rules: vec![Rule {
            single_agent: true,
            ..Rule::usual(vec!["ops".to_owned()])
        }],
        hold_down_ms: 90 * SECOND,
        end_after_ms: MINUTE,
        digest_every_ms: 60 * MINUTE,
        registered_providers: Vec::new(),
        forgetful: BTreeSet::new(),
        dashboard: Some("https://collector.example/".to_owned()),
    }
}

/// An incident looked at again and again, with what was said so far.
struct Story {
    settings: Settings,
    told: Option<Told>,
    said: Vec<(i64, Phase)>,
}

impl Story {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            told: None,
            said: Vec::new(),
        }
    }

    /// Looks once, so many seconds after the onset.
    fn look(&mut self, incident: &Incident, second: i64) {
        self.look_with(incident, second, &NoMutes);
    }

    fn look_with(&mut self, incident: &Incident, second: i64, mutes: &impl Mutes) {
        let now = BEGAN + second * SECOND;
        let (messages, told) = plan(incident, self.told.as_ref(), &self.settings, mutes, now);
        self.said.extend(
            messages
                .iter()
                .map(|message| (second, message.notice.phase)),
        );
        self.told = Some(told);
    }

    fn phases(&self) -> Vec<Phase> {
        self.said.iter().map(|said| said.1).collect()
    }
}

fn over(incident: &Incident, second: i64) -> Incident {
    Incident {
        open: false,
        ended_unix_ms: Some(BEGAN + second * SECOND),
        ending: Some("recovery".to_owned()),
        ..incident.clone()
    }
}

#[test]
fn two_agents_are_told_at_once_and_one_after_the_hold_down() {
    let registered = |providers: &[u32]| Settings {
        registered_providers: providers.to_vec(),
        ..settings()
    };
    let to = |asn| Incident {
        to_asn: Some(asn),
        ..alone("provider")
    };
    for (name, settings, incident, told_at) in [
        ("two agents", settings(), incident(), 40),
        ("one agent", settings(), alone("geo"), 90),
        ("nothing is reached", settings(), alone("unreachable"), 40),
        ("silent site", settings(), alone("site_silent"), 40),
        ("providers unknown", settings(), to(64501), 90),
        ("registered", registered(&[64500, 64501]), to(64501), 90),
        ("unregistered", registered(&[64500]), to(64501), 40),
    ] {
        let mut story = Story::new(settings);
        for second in 40..200 {
            story.look(&incident, second);
        }
        assert_eq!(story.said, [(told_at, Phase::Start)], "{name}");
    }
}

#[test]
fn a_brief_one_of_one_agent_is_recorded_and_not_told() {
    let mut story = Story::new(settings());
    let brief = alone("geo");
    story.look(&brief, 45);
    for second in 80..400 {
        story.look(&over(&brief, 80), second);
    }
    assert_eq!(story.said, []);
}

#[test]
fn an_end_follows_when_it_is_over_for_a_minute() {
    let mut story = Story::new(settings());
    story.look(&incident(), 40);
    for second in 300..600 {
        story.look(&over(&incident(), 300), second);
    }
    assert_eq!(story.said, [(40, Phase::Start), (360, Phase::End)]);
}

#[test]
fn what_began_and_ended_while_nobody_looked_has_both_unless_it_is_old_news() {
    for (name, looked_at, want) in [
        ("soon", 500, vec![Phase::Start, Phase::End]),
        ("too late", 40 + 601, vec![]),
    ] {
        let mut story = Story::new(settings());
        story.look(&over(&alone("geo"), 200), looked_at);
        story.look(&over(&alone("geo"), 200), looked_at + 1);
        assert_eq!(story.phases(), want, "{name}");
    }
}

#[test]
fn old_news_is_never_told() {
    let late = Incident {
        late: true,
        ..incident()
    };
    for (incident, first_look) in [(late, 40), (incident(), 40 + 601)] {
        let mut story = Story::new(settings());
        for second in first_look..first_look + 300 {
            story.look(&incident, second);
        }
        assert_eq!(story.said, []);
    }
}

#[test]
fn old_news_that_others_see_now_is_news() {
    let mut story = Story::new(settings());
    let late = Incident {
        late: true,
        ..incident()
    };
    story.look(&late, 40 + 601);
    assert_eq!(story.said, [], "a spool of before");
    story.look(&incident(), 40 + 602);
    assert_eq!(story.phases(), [Phase::Start], "and then the others");
}

/// A window over some sites, and a muted incident.
struct Silence {
    sites: &'static [&'static str],
    incident: bool,
}

impl Mutes for Silence {
    fn is_muted(&self, _: &Incident, affected: &Affected) -> bool {
        self.sites.contains(&affected.site.as_str())
    }
    fn is_incident_muted(&self, _: &Incident) -> bool {
        self.incident
    }
}

#[test]
fn what_is_muted_is_not_told_until_the_window_ends_and_an_end_always_is() {
    let all = Silence {
        sites: &["site-1", "site-2"],
        incident: false,
    };
    let one = Silence {
        sites: &["site-1"],
        incident: false,
    };
    let itself = Silence {
        sites: &[],
        incident: true,
    };
    for (name, silence) in [("both sites", &all), ("the incident", &itself)] {
        let mut story = Story::new(settings());
        for second in 40..1_000 {
            story.look_with(&incident(), second, silence);
        }
        assert_eq!(story.said, [], "{name}");
        story.look(&incident(), 1_000);
        assert_eq!(story.phases(), [Phase::Start], "{name}");
        story.look_with(&over(&incident(), 1_000), 1_060, silence);
        assert_eq!(story.phases(), [Phase::Start, Phase::End], "{name}");
    }
    // One site is left: an incident of one agent, after its hold-down.
    let mut story = Story::new(settings());
    for second in 40..100 {
        story.look_with(&incident(), second, &one);
    }
    assert_eq!(story.said, [(90, Phase::Start)]);
}

#[test]
fn one_that_comes_back_is_one_digest_an_hour_and_ends_after_a_calm() {
    let mut story = Story::new(settings());
    story.look(&incident(), 40);
    for moves in 1..50 {
        let again = Incident {
            reopenings: moves,
            ..incident()
        };
        story.look(&again, 40 + i64::from(moves) * 300);
    }
    let hourly: Vec<i64> = story.said.iter().map(|said| said.0).collect();
    assert_eq!(hourly, [40, 3_640, 7_240, 10_840, 14_440]);
    let last = Incident {
        reopenings: 49,
        ..incident()
    };
    for second in 15_000..16_000 {
        story.look(&over(&last, 15_000), second);
    }
    assert_eq!(story.said.last(), Some(&(15_900, Phase::End)));
}

#[test]
fn one_that_opens_again_after_its_end_is_a_digest_and_no_second_start() {
    let mut story = Story::new(settings());
    story.look(&incident(), 40);
    story.look(&over(&incident(), 100), 160);
    for second in 170..400 {
        story.look(&incident(), second);
    }
    story.look(&over(&incident(), 400), 460);
    story.look(&over(&incident(), 400), 400 + 900);
    assert_eq!(
        story.said,
        [
            (40, Phase::Start),
            (160, Phase::End),
            (250, Phase::Digest),
            (1_300, Phase::End)
        ]
    );
}

#[test]
fn growth_is_told_where_asked_for_and_forgetful_channels_are_reminded() {
    let mut settings = settings();
    settings.rules.push(Rule {
        updates: true,
        ..Rule::usual(vec!["chat".to_owned()])
    });
    settings.rules.push(Rule::usual(vec!["alerts".to_owned()]));
    settings.forgetful = BTreeSet::from(["alerts".to_owned()]);
    let large = Incident {
        affected: (1..=4).map(|number| affected(number, "NL")).collect(),
        ..incident()
    };
    let (first, told) = plan(&incident(), None, &settings, &NoMutes, BEGAN + 40 * SECOND);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].channels.len(), 3);
    let later = BEGAN + 11 * MINUTE;
    let (next, told) = plan(&large, Some(&told), &settings, &NoMutes, later);
    let channels: Vec<_> = next
        .iter()
        .map(|message| message.channels.iter().cloned().collect::<Vec<_>>())
        .collect();
    assert_eq!(channels, [["chat"]]);
    let (last, _) = plan(&large, Some(&told), &settings, &NoMutes, later + 6 * MINUTE);
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].channels, BTreeSet::from(["alerts".to_owned()]));
}

#[test]
fn a_channel_that_wants_it_later_is_told_later() {
    let mut settings = settings();
    settings.rules.push(Rule {
        geographies: vec!["FR".to_owned()],
        ..Rule::usual(vec!["paris".to_owned()])
    });
    let (_, told) = plan(&incident(), None, &settings, &NoMutes, BEGAN + 40 * SECOND);
    let mut wider = incident();
    wider.affected.push(affected(3, "FR"));
    let now = BEGAN + 60 * SECOND;
    let (messages, told) = plan(&wider, Some(&told), &settings, &NoMutes, now);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].notice.phase, Phase::Start);
    assert_eq!(messages[0].channels, BTreeSet::from(["paris".to_owned()]));
    let now = BEGAN + 500 * SECOND;
    let (end, _) = plan(&over(&wider, 400), Some(&told), &settings, &NoMutes, now);
    assert_eq!(end[0].channels.len(), 2, "both hear of the end");
}

proptest! {
    /// However an incident comes, goes, is muted and is looked at: starts and ends alternate, and no message repeats a number.
    #[test]
    fn every_start_has_one_end(steps in vec((1i64..900, any::<bool>(), any::<bool>(), 1usize..4), 1..80)) {
        let mut story = Story::new(settings());
        let mut second = 40;
        let mut sequences = BTreeSet::new();
        let mut current = Incident { affected: vec![affected(1, "NL")], ..incident() };
        let mut told: Option<Told> = None;
        let mut is_open_for_people = false;
        for (wait, open, muted, agents) in steps.into_iter().chain([(2_000, false, false, 1), (2_000, false, false, 1)]) {
            second += wait;
            if open != current.open {
                current.open = open;
                current.ended_unix_ms = (!open).then_some(BEGAN + second * SECOND);
                current.reopenings += u32::from(open);
            }
            current.affected = (1..=u32::try_from(agents).unwrap()).map(|number| affected(number, "NL")).collect();
            let silence = Silence { sites: &[], incident: muted };
            let now = BEGAN + second * SECOND;
            let (messages, next) = plan(&current, told.as_ref(), &story.settings, &silence, now);
            for message in messages {
                prop_assert!(sequences.insert(message.notice.sequence));
                match message.notice.phase {
                    Phase::Start => prop_assert!(!std::mem::replace(&mut is_open_for_people, true)),
                    Phase::Digest => is_open_for_people = true,
                    Phase::End => prop_assert!(std::mem::replace(&mut is_open_for_people, false)),
                    Phase::Update | Phase::Test => prop_assert!(is_open_for_people),
                }
                story.said.push((second, message.notice.phase));
            }
            told = Some(next);
        }
        prop_assert!(!is_open_for_people, "what ended is told as ended: {:?}", story.said);
        let starts = story.said.iter().filter(|said| said.1 == Phase::Start).count();
        prop_assert!(starts <= 1);
    }
}

//! What was told and what is on its way; what people said of incidents.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::*;
use crate::notify::core::mute::{Covers, WindowWish};
use crate::notify::core::notice::{Notice, Phase, message_id};
use crate::notify::core::plan::{Message, Told};
use crate::store::StoreError;
use crate::store::desk::{Doing, KeptWindow, NOTES_MAX, Note};
use crate::store::notifying::{Attempt, Letter, LetterState, Telling, WAITING_MAX};

fn telling(incident: &str, sequence: u32, phase: Phase, channels: &[&str]) -> Telling {
    let channels: BTreeSet<String> = channels.iter().map(|one| (*one).to_owned()).collect();
    let notice = Notice {
        incident_id: incident.to_owned(),
        message_id: message_id(incident, sequence),
        sequence,
        phase,
        ..Notice::test(Uuid::nil(), T0, None)
    };
    Telling {
        incident_id: incident.to_owned(),
        told: Told {
            sequence,
            channels: channels.clone(),
            ..Told::default()
        },
        messages: vec![Message { notice, channels }],
    }
}

async fn tell(store: &dyn Store, tellings: &[Telling]) {
    let organisation = default_organisation();
    store
        .tell(&organisation, T0, tellings.to_vec())
        .await
        .unwrap();
}

async fn next(store: &dyn Store, channel: &str) -> Option<Letter> {
    store
        .next_letter(&default_organisation(), channel)
        .await
        .unwrap()
}

async fn settle(store: &dyn Store, letter: &Letter, attempt: Attempt) {
    let organisation = default_organisation();
    store
        .settle(&organisation, letter.number, T0 + MINUTE, attempt)
        .await
        .unwrap();
}

pub(crate) async fn a_message_written_twice_is_one_and_goes_out_in_order(store: &dyn Store) {
    let start = telling("a", 1, Phase::Start, &["ops", "log"]);
    let end = telling("a", 2, Phase::End, &["ops"]);
    // A planner that died after the commit and before it knew does it again.
    tell(store, &[start.clone(), start, end.clone()]).await;
    let first = next(store, "ops").await.unwrap();
    assert_eq!(first.notice.phase, Phase::Start);
    let failed = Attempt::Failed {
        error: "refused".to_owned(),
        due_unix_ms: T0 + HOUR,
    };
    settle(store, &first, failed).await;
    let again = next(store, "ops").await.unwrap();
    assert_eq!(
        (again.number, again.attempts, again.due_unix_ms),
        (first.number, 1, T0 + HOUR),
        "a later one never overtakes"
    );
    settle(store, &again, Attempt::Delivered).await;
    settle(store, &again, Attempt::Delivered).await;
    assert_eq!(next(store, "ops").await.unwrap().notice.phase, Phase::End);
    assert!(next(store, "log").await.is_some());
    let organisation = default_organisation();
    let told = store
        .told(&organisation, vec!["a".to_owned(), "b".to_owned()])
        .await
        .unwrap();
    assert_eq!(
        told.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), end.told)]
    );
    let other = other_organisation();
    assert_eq!(store.next_letter(&other, "ops").await.unwrap(), None);
}

pub(crate) async fn what_is_given_up_is_seen_and_counted(store: &dyn Store) {
    tell(store, &[telling("a", 1, Phase::Start, &["ops"])]).await;
    let letter = next(store, "ops").await.unwrap();
    let error = "refused for good".to_owned();
    settle(store, &letter, Attempt::GivenUp { error }).await;
    assert_eq!(next(store, "ops").await, None);
    let organisation = default_organisation();
    let dead = store
        .letters(&organisation, Some(LetterState::Dead), None, 10)
        .await
        .unwrap();
    assert_eq!(dead.len(), 1);
    let counts = store.channel_counts(&organisation).await.unwrap();
    assert_eq!(
        (counts[0].waiting, counts[0].delivered, counts[0].dead),
        (0, 0, 1)
    );
    assert_eq!(counts[0].last_error.as_deref(), Some("refused for good"));
}

pub(crate) async fn an_outbox_is_bounded_and_reminders_replace_each_other(store: &dyn Store) {
    let many: Vec<Telling> = (0..WAITING_MAX + 3)
        .map(|number| telling(&format!("i{number}"), 1, Phase::Start, &["ops"]))
        .collect();
    tell(store, &many).await;
    let organisation = default_organisation();
    let counts = store.channel_counts(&organisation).await.unwrap();
    assert_eq!((counts[0].waiting, counts[0].dead), (WAITING_MAX, 3));
    assert_eq!(next(store, "ops").await.unwrap().notice.incident_id, "i3");

    for sequence in 2..9 {
        tell(store, &[telling("a", sequence, Phase::Update, &["alerts"])]).await;
    }
    let counts = store.channel_counts(&organisation).await.unwrap();
    assert_eq!(counts[0].waiting, 1, "{counts:?}");
}

fn by(who: &str, minutes: i64) -> Doing {
    Doing {
        at_unix_ms: T0 + minutes * MINUTE,
        who: who.to_owned(),
    }
}

pub(crate) async fn the_first_acknowledgement_stays_until_it_is_taken_back(store: &dyn Store) {
    let organisation = default_organisation();
    let acknowledge = |who: &'static str, on| {
        let organisation = organisation.clone();
        async move {
            store
                .acknowledge(&organisation, "a", by(who, 1), on)
                .await
                .unwrap()
        }
    };
    assert!(acknowledge("kim", true).await);
    assert!(!acknowledge("lee", true).await);
    let marks = store.marks(&organisation, "a").await.unwrap();
    assert_eq!(marks.acknowledged, Some(by("kim", 1)));
    assert!(acknowledge("lee", false).await);
    let marks = store.marks(&organisation, "a").await.unwrap();
    assert_eq!(marks.acknowledged, None);
    let other = store.marks(&other_organisation(), "a").await.unwrap();
    assert_eq!(other, crate::store::desk::Marks::default());
}

pub(crate) async fn notes_keep_their_order_and_their_bound(store: &dyn Store) {
    let organisation = default_organisation();
    for number in 0..NOTES_MAX {
        let note = Note {
            by: by("kim", i64::from(number)),
            text: format!("note {number}"),
        };
        store.add_note(&organisation, "a", note).await.unwrap();
    }
    let notes = store.marks(&organisation, "a").await.unwrap().notes;
    assert_eq!(notes[0].text, "note 0");
    let more = Note {
        by: by("kim", 0),
        text: "one more".to_owned(),
    };
    let refused = store.add_note(&organisation, "a", more).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })));
}

pub(crate) async fn change_windows_and_zones_are_kept(store: &dyn Store) {
    let organisation = default_organisation();
    let site = site(3, Some("NL"), None);
    store.put_site(&site).await.unwrap();
    let window = KeptWindow {
        id: "w1".to_owned(),
        by: by("kim", 0),
        wish: WindowWish {
            reason: "router upgrade".to_owned(),
            covers: Covers::default(),
            from_unix_ms: Some(T0),
            to_unix_ms: Some(T0 + HOUR),
            weekly: None,
        },
    };
    store
        .put_window(&organisation, window.clone())
        .await
        .unwrap();
    assert_eq!(store.windows(&organisation).await.unwrap(), [window]);
    assert!(
        store
            .windows(&other_organisation())
            .await
            .unwrap()
            .is_empty()
    );
    let delete = || store.delete_window(&organisation, "w1", by("kim", 1));
    assert!(delete().await.unwrap());
    assert!(!delete().await.unwrap());
    let zone = Some("Europe/Amsterdam".to_owned());
    let put = |zone| store.put_site_zone(&organisation, site.id, zone, by("kim", 1));
    put(zone).await.unwrap();
    let zones = store.site_zones(&organisation).await.unwrap();
    assert_eq!(zones[&site.id.to_string()], "Europe/Amsterdam");
    put(None).await.unwrap();
    assert!(store.site_zones(&organisation).await.unwrap().is_empty());
}

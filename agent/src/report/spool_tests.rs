//! The spool through crashes at any point, bounds, and another agent's leftovers.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn limits() -> SpoolLimits {
    SpoolLimits {
        max_bytes: 1 << 20,
        max_age: Duration::from_hours(1),
    }
}

fn agent() -> AgentId {
    "6f9619ff-8b86-4011-b42d-00c04fc964ff"
        .parse()
        .expect("an id")
}

fn open(directory: &Path) -> Spool {
    Spool::open(directory, agent(), limits()).expect("opens")
}

fn keep(spool: &mut Spool, bytes: &[u8]) -> u64 {
    let sequence = spool.take_sequence().expect("a sequence");
    spool.append(sequence, bytes, 1_000).expect("kept");
    sequence
}

#[test]
fn what_is_kept_outlives_the_process_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let sequences = [
        keep(&mut spool, b"one"),
        keep(&mut spool, b"two"),
        keep(&mut spool, b"three"),
    ];
    assert_eq!(sequences, [1, 2, 3]);
    let epoch = spool.epoch();
    drop(spool);
    let mut spool = open(directory.path());
    assert_eq!((spool.epoch(), spool.len(), spool.bytes()), (epoch, 3, 11));
    assert_eq!(spool.first_after(0), Some(1));
    assert_eq!(spool.read(2).as_deref(), Some(&b"two"[..]));
    spool.free_to(2);
    assert_eq!((spool.first_after(0), spool.bytes()), (Some(3), 5));
}

#[test]
fn a_freed_sequence_is_never_used_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let last = keep(&mut spool, b"one");
    spool.free_to(last);
    drop(spool);
    assert!(open(directory.path()).take_sequence().expect("a sequence") > last);
}

#[test]
fn another_agent_or_a_lost_state_is_another_epoch_without_old_reports() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let epoch = spool.epoch();
    keep(&mut spool, b"one");
    let other = Spool::open(directory.path(), AgentId::random(), limits()).expect("opens");
    assert_ne!(other.epoch(), epoch);
    assert_eq!(other.len(), 0);
    for damage in [&b""[..], b"{\"epoch\":"] {
        let mut spool = open(directory.path());
        let epoch = spool.epoch();
        keep(&mut spool, b"one");
        fs::write(directory.path().join(STATE_FILE), damage).expect("damaged");
        let spool = open(directory.path());
        assert_ne!(spool.epoch(), epoch);
        assert_eq!(spool.len(), 0);
    }
}

#[test]
fn the_oldest_go_first_by_bytes_and_by_age_and_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = SpoolLimits {
        max_bytes: 10,
        max_age: Duration::from_secs(1),
    };
    let mut spool = Spool::open(directory.path(), agent(), small).expect("opens");
    for unix_ms in [0, 500, 900, 1_400] {
        let sequence = spool.take_sequence().expect("a sequence");
        spool.append(sequence, b"four", unix_ms).expect("kept");
    }
    assert_eq!(spool.enforce_limits(1_400), 2, "sixteen bytes are over ten");
    assert_eq!(spool.enforce_limits(2_000), 1, "900 is over a second ago");
    assert_eq!(spool.first_after(0), Some(4));
    assert_eq!(spool.enforce_limits(1_000_000), 0, "the newest stays");
}

#[test]
fn a_report_cut_by_a_broken_disk_is_forgotten_and_not_sent() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let sequence = keep(&mut spool, b"a report");
    fs::write(spool.file(sequence), b"a rep").expect("cut");
    assert_eq!(spool.read(sequence), None);
    assert_eq!((spool.len(), spool.bytes()), (0, 0));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("a file");
    assert!(matches!(
        Spool::open(&file, agent(), limits()),
        Err(SpoolError::Directory { .. })
    ));
    let mut spool = open(&directory.path().join("spool"));
    fs::remove_dir_all(directory.path().join("spool")).expect("gone");
    assert!(matches!(
        spool.append(1, b"one", 0),
        Err(SpoolError::Write { .. })
    ));
    assert_eq!(spool.len(), 0);
}

/// What may happen between two steps.
#[derive(Clone, Debug)]
enum Event {
    Keep(usize),
    FreeOldest,
    /// Killed; `torn` leaves an unfinished file behind.
    Crash {
        torn: Option<u8>,
    },
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1usize..50).prop_map(Event::Keep),
        Just(Event::FreeOldest),
        prop::option::of(any::<u8>()).prop_map(|torn| Event::Crash { torn }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_crash_loses_a_kept_report_or_uses_a_sequence_twice(events in prop::collection::vec(any_event(), 1..30)) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spool = open(directory.path());
        let (mut model, mut used) = (BTreeMap::new(), std::collections::BTreeSet::new());
        for event in events {
            match event {
                Event::Keep(length) => {
                    let sequence = keep(&mut spool, &vec![7; length]);
                    prop_assert!(used.insert(sequence), "{sequence} was used before");
                    model.insert(sequence, length);
                }
                Event::FreeOldest => {
                    if let Some((sequence, _)) = model.pop_first() {
                        spool.free_to(sequence);
                    }
                }
                Event::Crash { torn } => {
                    if let Some(bytes) = torn {
                        let next = used.last().copied().unwrap_or(0) + 1;
                        let file = directory.path().join(format!("{next:020}{SUFFIX}{UNFINISHED}"));
                        fs::write(file, vec![0; usize::from(bytes)]).expect("torn");
                        // The sequence was taken before the crash, and must not come back.
                        let sequence = spool.take_sequence().expect("a sequence");
                        prop_assert!(used.insert(sequence));
                    }
                    drop(spool);
                    spool = open(directory.path());
                }
            }
            let kept: Vec<u64> = model.keys().copied().collect();
            let mut found = Vec::new();
            while let Some(sequence) = spool.first_after(found.last().copied().unwrap_or(0)) {
                prop_assert_eq!(spool.read(sequence).map(|bytes| bytes.len()), model.get(&sequence).copied());
                found.push(sequence);
            }
            prop_assert_eq!(found, kept);
        }
    }
}

//! The spool through crashes at any point, bounds, and another agent's leftovers.

use std::time::Duration;

use firstmile_wire::frame;
use firstmile_wire::v1::Report;
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
fn another_agent_is_another_epoch_without_old_reports_and_they_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let epoch = spool.epoch();
    keep(&mut spool, b"one");
    let mut other = Spool::open(directory.path(), AgentId::random(), limits()).expect("opens");
    assert_ne!(other.epoch(), epoch);
    assert_eq!((other.len(), other.take_unusable()), (0, 1));
    assert_eq!(other.take_unusable(), 0, "counted once");
}

/// Keeps a report as the pipeline does, told apart by its `version_text`.
fn keep_report(spool: &mut Spool, version_text: &str) -> u64 {
    let sequence = spool.take_sequence().expect("a sequence");
    let report = Report {
        version: firstmile_wire::VERSION,
        agent_id: agent().to_bytes(),
        epoch: spool.epoch().to_bytes(),
        sequence,
        agent_version: version_text.to_owned(),
        ..Report::default()
    };
    let bytes = frame::encode(&report).expect("encodes");
    spool.append(sequence, &bytes, 1_000).expect("kept");
    sequence
}

/// Sequence and text of what is kept, each checked to be stamped as the spool says.
fn stamped(spool: &mut Spool) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    while let Some(at) = spool.first_after(found.last().map_or(0, |(at, _)| *at)) {
        let report = frame::decode(&spool.read(at).expect("whole")).expect("decodes");
        assert_eq!(
            (report.epoch, report.sequence),
            (spool.epoch().to_bytes(), at)
        );
        found.push((at, report.agent_version));
    }
    found
}

#[test]
fn a_lost_or_damaged_state_is_another_epoch_with_the_old_reports() {
    for damage in [None, Some(&b""[..]), Some(b"{\"epoch\":")] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spool = open(directory.path());
        let epoch = spool.epoch();
        let sequences = ["one", "two"].map(|text| keep_report(&mut spool, text));
        let broken = keep(&mut spool, b"no report");
        drop(spool);
        let state = directory.path().join(STATE_FILE);
        match damage {
            Some(bytes) => fs::write(state, bytes).expect("damaged"),
            None => fs::remove_file(state).expect("lost"),
        }
        let mut spool = open(directory.path());
        assert_ne!(spool.epoch(), epoch);
        assert_eq!(
            stamped(&mut spool),
            [
                (sequences[0], "one".to_owned()),
                (sequences[1], "two".to_owned())
            ]
        );
        assert_eq!(spool.take_unusable(), 1, "what cannot be sent is counted");
        assert!(spool.take_sequence().expect("a sequence") > broken);
        let epoch = spool.epoch();
        drop(spool);
        let mut spool = open(directory.path());
        assert_eq!((spool.epoch(), stamped(&mut spool).len()), (epoch, 2));
        let on_disk: u64 = fs::read_dir(directory.path())
            .expect("listed")
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "report"))
            .map(|entry| entry.metadata().expect("metadata").len())
            .sum();
        assert_eq!(spool.bytes(), on_disk);
    }
}

#[test]
fn a_state_that_cannot_be_read_costs_no_report() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let sequence = keep_report(&mut spool, "one");
    drop(spool);
    let state = directory.path().join(STATE_FILE);
    let bytes = fs::read(&state).expect("there");
    fs::remove_file(&state).expect("gone");
    fs::create_dir(&state).expect("what no read succeeds on");
    assert!(matches!(
        Spool::open(directory.path(), agent(), limits()),
        Err(SpoolError::Read { .. })
    ));
    fs::remove_dir(&state).expect("empty");
    fs::write(&state, bytes).expect("back");
    assert_eq!(open(directory.path()).first_after(0), Some(sequence));
}

#[test]
fn a_move_to_a_new_epoch_that_was_cut_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    for text in ["sent", "two", "three"] {
        keep_report(&mut spool, text);
    }
    let old = spool.epoch();
    // As after a crash between the first and the second report.
    spool.state.epoch = Epoch::random();
    spool.state.restamp_from = Some(2);
    spool.reserve().expect("written");
    spool.restamp_one(2).expect("written");
    drop(spool);
    let mut spool = open(directory.path());
    let sent = frame::decode(&spool.read(1).expect("kept")).expect("decodes");
    assert_eq!(
        sent.epoch,
        old.to_bytes(),
        "the collector has it under its old name"
    );
    spool.remove(1);
    assert_eq!(
        stamped(&mut spool),
        [(2, "two".to_owned()), (3, "three".to_owned())]
    );
    assert_eq!(spool.state.restamp_from, None);
}

#[test]
fn a_report_that_is_not_sure_to_stay_is_not_left_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spool = open(directory.path());
    let sequence = spool.take_sequence().expect("a sequence");
    let unsynced = spool.append_with(sequence, b"one", 0, |file, bytes| {
        write_durably(file, bytes)?;
        Err(io::Error::other("the directory could not be synced"))
    });
    assert!(matches!(unsynced, Err(SpoolError::Write { .. })));
    drop(spool);
    assert_eq!(open(directory.path()).len(), 0);
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

//! Tests of the whole: each committed sample is found once, whatever happens to the program or to a file.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::day::with_companions;
use crate::shelf::quarantine;

const NOON: i64 = 1_793_534_400_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
const AT_ONCE: Seal = Seal {
    rows: 1,
    after_ms: 0,
};

fn open(dir: &Path) -> (Days, Opened) {
    Days::open(dir, NOON).unwrap()
}

fn row(at_unix_ms: i64, rtt_us: u32) -> Row {
    Row {
        at_unix_ms,
        outcome: 1,
        rtt_us,
        marks: 0,
        reply_ttl: 0,
    }
}

/// All there is, as (agent, series, time, RTT); a sample that is there twice is twice in the list.
fn all(days: &Days) -> Vec<(u32, u32, i64, u32)> {
    let mut found = Vec::new();
    let shown = days
        .read(
            None,
            i64::MIN,
            i64::MAX,
            |_| true,
            |agent, block| {
                found.extend(
                    block
                        .rows()
                        .map(|row| (agent, block.series, row.at_unix_ms, row.rtt_us)),
                );
            },
        )
        .unwrap();
    assert_eq!((shown.rows, shown.damaged), (found.len(), 0));
    found.sort_unstable();
    found
}

/// What another process reads.
fn beside(dir: &Path) -> View {
    let catalogue = Connection::open(dir.join(CATALOGUE)).unwrap();
    let mut rows = catalogue
        .prepare("SELECT seq, batch FROM inbox ORDER BY seq")
        .unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let rows: Vec<(i64, Vec<u8>)> = rows.unwrap().collect::<Result<_, _>>().unwrap();
    let mut shelf = Shelf::beside(dir).unwrap();
    for (seq, batch) in rows {
        shelf.replay(seq, &batch, NOON).unwrap();
    }
    shelf.view()
}

/// The same as others read it.
fn seen(view: &View) -> Vec<(u32, u32, i64, u32)> {
    let mut found = Vec::new();
    let asked = Asked {
        agents: None,
        from_unix_ms: i64::MIN,
        to_unix_ms: i64::MAX,
        stop: None,
    };
    let show = |agent: u32, block: &Block| {
        let row = |row: Row| (agent, block.series, row.at_unix_ms, row.rtt_us);
        found.extend(block.rows().map(row));
    };
    view.read(&asked, |_, _| true, show).unwrap();
    found.sort_unstable();
    found
}

fn push(days: &mut Days, agent: u32, at_unix_ms: i64, rtt_us: u32) {
    days.push(
        agent,
        agent * 10 + rtt_us % 3,
        row(at_unix_ms, rtt_us),
        0,
        NOON,
    )
    .unwrap();
}

/// A copy of the folder as it is now: what a program finds that starts after this one died here.
fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // The index of the log is made anew after a death.
        if !path.to_str().unwrap().ends_with("-shm") {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

#[derive(Clone, Debug)]
enum Deed {
    Push(u32, i64),
    Commit,
    Seal(usize),
    Reopen,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    // Around midnight, so that samples of one agent are of two days; and late ones.
    let at = prop_oneof![6 => -MINUTE..MINUTE, 1 => -3 * DAY..0];
    let deed = prop_oneof![
        12 => (0u32..4, at).prop_map(|(agent, at)| Deed::Push(agent, NOON - DAY / 2 + at)),
        4 => Just(Deed::Commit),
        2 => prop_oneof![Just(1usize), 2usize..20].prop_map(Deed::Seal),
        1 => Just(Deed::Reopen),
    ];
    vec(deed, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_committed_is_there_once_after_a_death_at_any_moment(deeds in deeds()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut days, _) = open(dir.path());
        let (mut pushed, mut committed) = (Vec::new(), Vec::new());
        for (deed, number) in deeds.into_iter().zip(1u32..) {
            match deed {
                Deed::Push(agent, at) => {
                    push(&mut days, agent, at, number);
                    pushed.push((agent, agent * 10 + number % 3, at, number));
                }
                Deed::Commit => {
                    days.commit(NOON).unwrap();
                    committed.append(&mut pushed);
                }
                Deed::Seal(rows) => {
                    let when = Seal {
                        rows,
                        after_ms: i64::MAX,
                    };
                    let mut want = committed.clone();
                    want.sort_unstable();
                    let view = days.view();
                    days.seal_observed(NOON, when, &mut || {
                        let copy = copy_of(dir.path());
                        assert_eq!(all(&open(copy.path()).0), want, "died while sealing");
                        assert_eq!(seen(&view), want, "read while sealing");
                        assert_eq!(seen(&beside(dir.path())), want, "read by another process");
                    }).unwrap();
                }
                Deed::Reopen => {
                    pushed.clear();
                    drop(days);
                    days = open(dir.path()).0;
                }
            }
            let mut want = committed.clone();
            want.sort_unstable();
            prop_assert_eq!(all(&days), want);
        }
        committed.sort_unstable();
        let copy = copy_of(dir.path());
        prop_assert_eq!(all(&open(copy.path()).0), committed);
        prop_assert!(crate::fsck(copy.path()).unwrap().is_sound());
    }
}

#[test]
fn the_inbox_forgets_what_is_in_chunks_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (mut days, _) = open(dir.path());
    let rows = |days: &Days| -> i64 {
        days.catalogue
            .query_row("SELECT count(*) FROM inbox", [], |row| row.get(0))
            .unwrap()
    };
    push(&mut days, 1, NOON, 1);
    days.commit(NOON).unwrap();
    for n in 0..10 {
        push(&mut days, 2, NOON + n, 2);
    }
    days.commit(NOON).unwrap();
    assert_eq!(
        days.seal(
            NOON,
            Seal {
                rows: 10,
                after_ms: MINUTE
            }
        )
        .unwrap(),
        1,
        "agent 2 has enough"
    );
    push(&mut days, 2, NOON + 20, 3);
    days.commit(NOON).unwrap();
    assert_eq!(rows(&days), 3, "agent 1 waits in the first row");
    assert_eq!(
        days.seal(
            NOON + MINUTE,
            Seal {
                rows: 10,
                after_ms: MINUTE
            }
        )
        .unwrap(),
        2,
        "both waited long enough"
    );
    push(&mut days, 3, NOON, 4);
    days.commit(NOON).unwrap();
    assert_eq!(rows(&days), 1);
    assert_eq!(all(&days).len(), 13);
}

#[test]
fn a_reader_gets_what_it_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut days, _) = open(dir.path());
    for n in 0..30 {
        push(
            &mut days,
            1 + u32::try_from(n % 2).unwrap(),
            NOON + n * MINUTE,
            u32::try_from(n).unwrap(),
        );
    }
    days.commit(NOON).unwrap();
    days.seal(
        NOON,
        Seal {
            rows: 1,
            after_ms: 0,
        },
    )
    .unwrap();
    push(&mut days, 1, NOON + 30 * MINUTE, 30);
    days.commit(NOON).unwrap();
    let mut rtts = Vec::new();
    let (from, to) = (NOON + 4 * MINUTE, NOON + 31 * MINUTE);
    let shown = days
        .read(
            Some(1),
            from,
            to,
            |series| series == 10,
            |agent, block| {
                assert_eq!((agent, block.series), (1, 10));
                rtts.extend_from_slice(block.rtts_us());
            },
        )
        .unwrap();
    assert_eq!(rtts, [6, 12, 18, 24, 30]);
    assert_eq!(
        shown,
        Shown {
            rows: 5,
            damaged: 0
        }
    );
}

#[test]
fn times_that_cannot_be_kept_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut days, _) = open(dir.path());
    days.retain_from(DayNumber::of(NOON - DAY)).unwrap();
    for (name, at, want) in [
        ("yesterday", NOON - DAY, Ok(())),
        (
            "the first instant kept",
            DayNumber::of(NOON - DAY).start_unix_ms(),
            Ok(()),
        ),
        (
            "the one before",
            DayNumber::of(NOON - DAY).start_unix_ms() - 1,
            Err(Refused::TooOld),
        ),
        ("the beginning of time", i64::MIN, Err(Refused::TooOld)),
        ("tomorrow", NOON + DAY, Ok(())),
        ("after it", NOON + DAY + 1, Err(Refused::Future)),
        ("the end of time", i64::MAX, Err(Refused::Future)),
    ] {
        assert_eq!(days.push(1, 1, row(at, 1), 0, NOON), want, "{name}");
    }
}

#[test]
fn a_day_past_retention_goes_with_its_file_and_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut days, _) = open(dir.path());
    push(&mut days, 1, NOON - 2 * DAY, 1);
    push(&mut days, 1, NOON, 2);
    days.commit(NOON).unwrap();
    days.seal(NOON, AT_ONCE).unwrap();
    let gone = days.retain_from(DayNumber::of(NOON - DAY)).unwrap();
    assert_eq!(gone.len(), 1);
    drop(days);
    // Its rows are in the inbox still, and its file says no more that they were sealed.
    let (days, opened) = open(dir.path());
    assert_eq!(opened.replayed, 0);
    assert_eq!(all(&days), [(1, 12, NOON, 2)]);
}

/// A store of two days with a chunk each, and a sample in the inbox.
fn two_days(dir: &Path) -> [PathBuf; 2] {
    let (mut days, _) = open(dir);
    for n in 0..500 {
        push(&mut days, 1, NOON - DAY + n, 1);
        push(&mut days, 1, NOON + n, 2);
    }
    days.commit(NOON).unwrap();
    days.seal(NOON, AT_ONCE).unwrap();
    push(&mut days, 2, NOON, 3);
    days.commit(NOON).unwrap(); // and the inbox forgets the others
    days.settle().unwrap();
    [NOON - DAY, NOON].map(|at| dir.join(DayNumber::of(at).file_name().unwrap()))
}

type Harm = (&'static str, fn(&Path));

#[test]
fn a_damaged_day_is_set_aside_and_the_rest_is_served() {
    let harms: [Harm; 3] = [
        ("cut to nothing that is a database", |path| {
            std::fs::write(path, "SQLite format 4?").unwrap();
        }),
        ("cut in the middle", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..100]).unwrap();
        }),
        ("its first page is noise", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes[..200].fill(0xa5);
            std::fs::write(path, bytes).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let [yesterday, today] = two_days(dir.path());
        harm(&yesterday);
        assert!(!crate::fsck(dir.path()).unwrap().is_sound(), "{name}");
        let (mut days, opened) = open(dir.path());
        assert_eq!(opened.quarantined.len(), 1, "{name}: {opened:?}");
        assert!(
            opened.quarantined[0].exists() && !yesterday.exists() && today.exists(),
            "{name}"
        );
        assert_eq!(all(&days).len(), 501, "{name}");
        let told = days.view().damaged_days().unwrap();
        assert_eq!(told, [DayNumber::of(NOON - DAY)].into(), "{name}");
        // Late samples of that day are taken, into a new file.
        push(&mut days, 1, NOON - DAY, 9);
        days.commit(NOON).unwrap();
        days.seal(NOON, AT_ONCE).unwrap();
        assert_eq!(all(&days).len(), 502, "{name}");
        assert!(crate::fsck(dir.path()).unwrap().is_sound(), "{name}");
    }
}

#[test]
fn a_file_that_is_cut_under_a_reader_costs_its_day_and_not_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let agents = 60;
    {
        let (mut days, _) = open(dir.path());
        for agent in 0..agents {
            // Of many figures, so that the chunks are on several pages.
            for n in 0..500_u32 {
                let at = NOON - DAY + i64::from(n);
                push(&mut days, agent, at, n * 7_919 % 50_000);
            }
            push(&mut days, agent, NOON, 2);
        }
        days.commit(NOON).unwrap();
        days.seal(NOON, AT_ONCE).unwrap();
        days.settle().unwrap();
    }
    let name = DayNumber::of(NOON - DAY).file_name().unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join(name))
        .unwrap();
    let asked = Asked {
        agents: None,
        from_unix_ms: i64::MIN,
        to_unix_ms: i64::MAX,
        stop: None,
    };
    let mut today = 0;
    // Cut when its first samples are shown: the reader is on its way to pages that are gone.
    let show = |_: u32, block: &Block| {
        file.set_len(16_384).unwrap();
        today += block.rows().filter(|row| row.at_unix_ms >= NOON).count();
    };
    let shown = beside(dir.path()).read(&asked, |_, _| true, show).unwrap();
    assert_eq!((today, shown.damaged), (60, 1));
}

#[test]
fn a_flipped_bit_in_a_chunk_costs_that_chunk_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let [yesterday, _] = two_days(dir.path());
    let file = Connection::open(&yesterday).unwrap();
    file.execute(
        "UPDATE chunk SET bytes = CAST(x'00' || substr(bytes, 2) AS BLOB)",
        [],
    )
    .unwrap();
    drop(file);
    let report = crate::fsck(dir.path()).unwrap();
    assert_eq!((report.files, report.faults.len()), (2, 1));
    assert!(
        report.faults[0].1.contains("agent 1: the checksum is"),
        "{:?}",
        report.faults
    );
    let (days, _) = open(dir.path());
    let shown = days
        .read(None, i64::MIN, i64::MAX, |_| true, |_, _| {})
        .unwrap();
    assert_eq!(
        shown,
        Shown {
            rows: 501,
            damaged: 1
        }
    );
    assert_eq!(days.view().damaged_days().unwrap().len(), 1);
}

#[test]
fn a_deleted_day_is_missing_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let [yesterday, _] = two_days(dir.path());
    std::fs::remove_file(yesterday).unwrap();
    let (days, opened) = open(dir.path());
    assert_eq!(opened.replayed, 1);
    assert_eq!(all(&days).len(), 501);
}

#[test]
fn an_unreadable_row_of_the_inbox_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (mut days, _) = open(dir.path());
    for rtt in 1..=2 {
        push(&mut days, 1, NOON, rtt);
        days.commit(NOON).unwrap();
    }
    days.catalogue
        .execute("UPDATE inbox SET batch = x'0102030405' WHERE seq = 1", [])
        .unwrap();
    drop(days);
    let (days, opened) = open(dir.path());
    assert_eq!((opened.unreadable_rows, opened.replayed), (1, 1));
    assert_eq!(all(&days), [(1, 12, NOON, 2)]);
    drop(days);
    assert_eq!(open(dir.path()).1.unreadable_rows, 0, "told once");
}

#[test]
fn after_a_failed_write_nothing_is_written_until_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut days, _) = open(dir.path());
    push(&mut days, 1, NOON, 1);
    days.commit(NOON).unwrap();
    days.catalogue
        .execute_batch("PRAGMA query_only = 1")
        .unwrap();
    push(&mut days, 1, NOON, 2);
    assert!(matches!(days.commit(NOON), Err(DaysError::Engine { .. })));
    assert!(matches!(days.commit(NOON), Err(DaysError::Broken)));
    assert!(matches!(days.seal(NOON, AT_ONCE), Err(DaysError::Broken)));
    assert_eq!(all(&days).len(), 1, "it is read as before");
    drop(days);
    assert_eq!(all(&open(dir.path()).0).len(), 1);
}

#[test]
fn numbers_of_the_inbox_go_on_when_the_catalogue_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    two_days(dir.path());
    for file in with_companions(&dir.path().join(CATALOGUE)) {
        drop(std::fs::remove_file(file));
    }
    let (mut days, _) = open(dir.path());
    push(&mut days, 1, NOON, 7);
    days.commit(NOON).unwrap();
    drop(days);
    let found = all(&open(dir.path()).0);
    assert!(
        found.contains(&(1, 11, NOON, 7)),
        "a new sample is not taken for a sealed one"
    );
    assert_eq!(found.len(), 1_001);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 1_001);
}

#[test]
fn an_agent_with_more_than_a_chunk_holds_is_sealed_in_several() {
    let dir = tempfile::tempdir().unwrap();
    let (mut days, _) = open(dir.path());
    let many = i64::try_from(firstmile_columns::chunk::MAX_ROWS).unwrap() + 10;
    for n in 0..many {
        days.push(1, 1, row(NOON + n, 1), 0, NOON).unwrap();
    }
    for series in 0..5_000 {
        days.push(2, series, row(NOON, 1), 0, NOON).unwrap();
    }
    days.commit(NOON).unwrap();
    assert_eq!(days.seal(NOON, AT_ONCE).unwrap(), 4);
    assert_eq!(i64::try_from(all(&days).len()).unwrap(), many + 5_000);
}

#[test]
fn a_day_of_a_later_program_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let [yesterday, _] = two_days(dir.path());
    let file = Connection::open(&yesterday).unwrap();
    file.pragma_update(None, "user_version", 2).unwrap();
    drop(file);
    let refused = Days::open(dir.path(), NOON).map(|_| ()).unwrap_err();
    let DaysError::Engine { path, source, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!(path, yesterday);
    assert!(source.to_string().contains("version 2"), "{source}");
    assert!(yesterday.exists());
}

#[test]
fn a_damaged_file_keeps_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples-2026-11-23.db");
    std::fs::write(&path, "noise").unwrap();
    std::fs::write(dir.path().join("samples-2026-11-23.db-wal"), "log").unwrap();
    let kept = quarantine(&path).unwrap();
    assert_eq!(std::fs::read(&kept).unwrap(), b"noise");
    assert_eq!(std::fs::read(&with_companions(&kept)[1]).unwrap(), b"log");
    assert!(!path.exists());
}

#[test]
fn a_copy_of_a_day_goes_as_far_as_the_inbox_it_is_copied_with() {
    let dir = tempfile::tempdir().unwrap();
    let (mut days, _) = open(dir.path());
    for rtt in 1..=3 {
        push(&mut days, 1, NOON, rtt);
        days.commit(NOON).unwrap();
        days.seal(NOON, AT_ONCE).unwrap();
    }
    let name = DayNumber::of(NOON).file_name().unwrap();
    for (upto, want) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3)] {
        let copy = tempfile::tempdir().unwrap();
        crate::copy_day(&dir.path().join(&name), &copy.path().join(&name), upto).unwrap();
        let (shelf, _) = Shelf::open(copy.path(), DayNumber(0)).unwrap();
        assert_eq!(
            (shelf.last_mark(), seen(&shelf.view()).len()),
            (i64::try_from(want).unwrap(), want)
        );
    }
}

#[test]
fn the_first_and_the_last_sample_are_found_in_head_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let (mut days, _) = open(dir.path());
    let ends = |days: &Days, at| {
        (
            days.view().first_from(at).unwrap(),
            days.view().last().unwrap(),
        )
    };
    assert_eq!(ends(&days, i64::MIN), (None, None));
    for at in [NOON - DAY, NOON] {
        push(&mut days, 1, at, 1);
    }
    days.commit(NOON).unwrap();
    for _ in ["in the head", "in files"] {
        assert_eq!(ends(&days, i64::MIN), (Some(NOON - DAY), Some(NOON)));
        assert_eq!(ends(&days, NOON - DAY + 1), (Some(NOON), Some(NOON)));
        assert_eq!(ends(&days, NOON + 1), (None, Some(NOON)));
        days.seal(NOON, AT_ONCE).unwrap();
    }
}

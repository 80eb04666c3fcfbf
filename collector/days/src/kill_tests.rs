//! A process that stores samples is killed (SIGKILL) at moments it does not choose. Whatever it acknowledged is there, once.
//!
//! The child is this test program again, running [`store_samples_until_killed`] in a folder that the parent prepared.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use firstmile_columns::Row;

use crate::{Days, Seal, fsck};

/// Its presence in the working folder tells a process that it is the child.
const MARK: &str = "child-of-the-kill-test";
/// Just before a midnight, so that samples are of two days.
const T0: i64 = 1_793_577_590_000;
const AGENTS: u32 = 5;

/// Sample `n` of all, told by its time and RTT alone.
fn sample(n: u32) -> (u32, Row) {
    let row = Row {
        at_unix_ms: T0 + i64::from(n) * 10,
        outcome: 1,
        rtt_us: n,
        marks: 0,
        reply_ttl: 0,
    };
    (n % AGENTS, row)
}

/// Every sample that is there, and how many times.
fn found(days: &mut Days) -> BTreeMap<u32, u32> {
    let mut found = BTreeMap::new();
    let shown = days.read(
        None,
        i64::MIN,
        i64::MAX,
        |_| true,
        |agent, block| {
            for row in block.rows() {
                assert_eq!((agent, row), sample(row.rtt_us));
                *found.entry(row.rtt_us).or_default() += 1;
            }
        },
    );
    assert_eq!(shown.unwrap().damaged, 0);
    found
}

/// Not a test of its own: what the child of the next test does. It tells what it acknowledges in a line.
#[test]
#[ignore = "the child of the kill test"]
#[expect(clippy::infinite_loop, reason = "it ends by SIGKILL")]
fn store_samples_until_killed() {
    let dir = Path::new(".");
    if !dir.join(MARK).exists() {
        return;
    }
    let (mut days, _) = Days::open(dir, T0).unwrap();
    let mut next = found(&mut days).keys().last().map_or(0, |last| last + 1);
    let when = Seal {
        rows: 20,
        after_ms: i64::MAX,
    };
    loop {
        for _ in 0..7 {
            let (agent, row) = sample(next);
            days.push(agent, agent, row, 0, T0).unwrap();
            next += 1;
        }
        days.commit(T0).unwrap();
        println!("acknowledged {next}");
        days.seal(T0, when).unwrap();
    }
}

/// Runs the child until it acknowledged `enough` times, kills it, and says up to where it did.
fn acknowledged_before_death(dir: &Path, enough: usize) -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("kill_tests::store_samples_until_killed")
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = lines.map_while(Result::ok).filter_map(|line| {
        let number = line.split("acknowledged ").nth(1)?;
        number.trim().parse::<u32>().ok()
    });
    let mut last = told.by_ref().take(enough).last().unwrap_or(0);
    child.kill().unwrap();
    // What it said while it died counts too.
    last = told.last().unwrap_or(last);
    child.wait().unwrap();
    last
}

#[test]
fn what_was_acknowledged_outlives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(MARK), "").unwrap();
    for life in 0..8 {
        let acknowledged = acknowledged_before_death(dir.path(), 5 + life * 3);
        assert!(acknowledged > 0, "life {life} did nothing");
        let (mut days, opened) = Days::open(dir.path(), T0).unwrap();
        assert_eq!(opened.unreadable_rows, 0);
        let found = found(&mut days);
        let missing = (0..acknowledged).find(|n| !found.contains_key(n));
        assert_eq!(
            missing, None,
            "life {life}: acknowledged up to {acknowledged}"
        );
        let twice = found.iter().find(|(_, times)| **times > 1);
        assert_eq!(twice, None, "life {life}");
        drop(days);
        let report = fsck(dir.path()).unwrap();
        assert!(report.is_sound(), "life {life}: {report:?}");
    }
    let report = fsck(dir.path()).unwrap();
    assert!(report.files >= 1 && report.chunks > 8, "{report:?}");
}

//! The machine's clock is set by an hour either way, again and again, and the machine sleeps for eight hours: no bad sample, no
//! loss that was none, no time that no clock showed; and the collector's figures are as true as before.
//!
//! The agent's clocks are set by `clock.c`, which is preloaded: as the kernel would, it moves the wall clock and what packets
//! are stamped with, and in a sleep the time since boot as well, while the clock that stands still in a sleep goes on. The agent
//! is stopped while it sleeps. What this cannot show: what a real kernel does to timers and interfaces around a sleep.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use firstmile_lab::check::api::Api;
use firstmile_lab::clock::{poll_until, unix_ms};
use firstmile_lab::control::{Outcome as Ended, Request, Truth};
use firstmile_lab::outer::{Lab, Options};
use firstmile_wire::v1::{GapReason, Outcome, Phase, Protocol, Report};

use crate::branches::SITE;
use crate::reports::{Sample, samples, spooled};

const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(250);
/// From one step of the clock to the next: shorter than the round trip, so that some are in the middle of one.
const BETWEEN_STEPS: Duration = Duration::from_millis(450);
const STEPS: usize = 16;
/// How long the agent is stopped while it sleeps: several pulses and replies.
const ASLEEP: Duration = Duration::from_secs(2);
const HOUR_MS: i64 = 3_600_000;
const NIGHT_MS: i64 = 8 * HOUR_MS;
/// What the emulator, two busy processors and a debug build may add to a round trip. A bad sample is off by an hour, or it is
/// below the truth.
const EXCESS_US: u32 = 400_000;
const BELOW_US: u32 = 1_000;
/// Between the writing of a clock and the agent's reading of it, and the other way round.
const NEAR_MS: i64 = 1_500;

/// The clocks of the agent: the file that `clock.c` reads, and what has been written.
struct Clocks {
    file: File,
    eras: Vec<Era>,
}

/// From `from_ms` on, by the true clock, the agent's are off by so much.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit is in the name")]
struct Era {
    from_ms: i64,
    wall_ms: i64,
    boot_ms: i64,
}

impl Clocks {
    const ERA_BYTES: u64 = 32;
    const MOST: u64 = 255;

    fn new(path: &Path, wall_ms: i64) -> Self {
        let file = File::create_new(path).expect("the folder takes files");
        file.set_len(Self::ERA_BYTES * (Self::MOST + 1))
            .expect("the disk has room");
        let eras = Vec::new();
        let mut clocks = Self { file, eras };
        clocks.set(wall_ms, 0);
        clocks
    }

    /// The era first, then the number of eras: who reads meanwhile sees the one before.
    fn set(&mut self, wall_ms: i64, boot_ms: i64) {
        let era = Era {
            from_ms: unix_ms(),
            wall_ms,
            boot_ms,
        };
        let count = u64::try_from(self.eras.len()).expect("few") + 1;
        assert!(count <= Self::MOST, "clock.c has no room for more");
        for (number, ms) in [era.from_ms, wall_ms, boot_ms].into_iter().enumerate() {
            let at = Self::ERA_BYTES * count + 8 * u64::try_from(number).expect("few");
            self.write(at, ms * 1_000_000);
        }
        self.write(0, i64::try_from(count).expect("few"));
        self.eras.push(era);
    }

    fn write(&self, at: u64, value: i64) {
        self.file
            .write_all_at(&value.to_ne_bytes(), at)
            .expect("the disk has room");
    }

    /// Moves the wall clock by so much.
    fn step(&mut self, by_ms: i64) {
        let now = self.now();
        self.set(now.wall_ms + by_ms, now.boot_ms);
    }

    /// Time passes in which nothing runs.
    fn sleep(&mut self, for_ms: i64) {
        let now = self.now();
        self.set(now.wall_ms + for_ms, now.boot_ms + for_ms);
    }

    fn now(&self) -> Era {
        *self.eras.last().expect("there is one from the start")
    }

    /// Whether one of the agent's clocks can have shown this time.
    fn showed(&self, wall_ms: i64) -> bool {
        let ends = (self.eras.iter().skip(1)).map(|era| era.from_ms);
        let ends = ends.chain([unix_ms()]);
        (self.eras.iter().zip(ends)).any(|(era, end_ms)| {
            let true_ms = wall_ms - era.wall_ms;
            (era.from_ms - NEAR_MS..=end_ms + NEAR_MS).contains(&true_ms)
        })
    }
}

/// A lab whose agent has clocks of its own, far from the front door, asking it often.
fn options(state: &Path, clocks: &Path) -> Options {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scenario = std::fs::read_to_string(folder.join("scenarios/ecmp.toml")).unwrap();
    let faster = "[plan]\npulse_interval = \"1s\"\nupload_interval = \"5s\"\n";
    let changed = scenario
        .replace("[plan]\n", faster)
        .replace("delay = \"15ms\"", "delay = \"100ms\"");
    assert!(changed.contains(faster) && changed.contains("\"100ms\""));
    let file = state.join("far.toml");
    std::fs::write(&file, changed).unwrap();
    let usual = crate::options(state.join("lab"));
    Options {
        scenario: Some(file),
        agent: with_clocks(&usual.agent, state, clocks),
        ..usual
    }
}

/// A program that runs the agent with the clocks of a file.
fn with_clocks(agent: &Path, state: &Path, clocks: &Path) -> PathBuf {
    let library = state.join("clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/clock/clock.c");
    let built = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .expect("there is no cc: apt-get install gcc");
    assert!(built.status.success(), "{built:?}");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = run ] && export LD_PRELOAD={:?} FIRSTMILE_TEST_CLOCKS={:?}\nexec {:?} \"$@\"\n",
        library.display().to_string(),
        clocks.display().to_string(),
        agent.display().to_string()
    );
    let program = state.join("agent-with-clocks");
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn no_step_of_the_clock_and_no_sleep_makes_a_bad_sample() {
    let _alone = crate::alone();
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("clocks");
    // The night that it will sleep through is still to come: after it the clock is right.
    let mut clocks = Clocks::new(&file, -NIGHT_MS);
    let options = options(state.path(), &file);
    crate::runtime().block_on(async {
        let mut lab = Lab::start(options, &|text| println!("{text}"))
            .await
            .unwrap();
        lab.kill_collector().await.unwrap();
        let truths: Vec<Truth> = lab.ask(Request::Truth).await.unwrap();
        more_samples(&lab, &truths).await;
        sleep_through_the_night(&lab, &mut clocks).await;
        more_samples(&lab, &truths).await;
        for step in 0..STEPS {
            // Back and ahead by an hour, each in the middle of something.
            clocks.step(if step % 2 == 0 { -HOUR_MS } else { HOUR_MS });
            tokio::time::sleep(BETWEEN_STEPS).await; // what is under test is time itself
        }
        assert_eq!(clocks.now().wall_ms, 0, "the clock is right again");
        more_samples(&lab, &truths).await;
        let reports = spooled(&lab, SITE);
        times_are_those_of_a_clock(&reports, &clocks);
        samples_are_true(&samples(&reports), &truths);
        gaps_say_what_happened(&reports);
        let spoiled = counter(&lab, "clock_step_samples");
        println!("{spoiled} probes were under way at a step or a sleep and were dropped");
        assert!(spoiled > 0, "no step met a probe under way");
        lab.restart_collector().await.unwrap();
        collector_is_true(&lab, &truths).await;
        lab.stop().await;
    });
}

/// The agent is stopped, and time goes on for eight hours.
async fn sleep_through_the_night(lab: &Lab, clocks: &mut Clocks) {
    signal(lab, "STOP").await;
    tokio::time::sleep(ASLEEP).await; // replies come that nobody takes
    clocks.sleep(NIGHT_MS);
    signal(lab, "CONT").await;
}

async fn signal(lab: &Lab, name: &str) {
    let pid = &status(lab)["pid"];
    let command = ["sh", "-c", &format!("kill -{name} {pid}")].map(str::to_owned);
    let request = Request::Run {
        machine: format!("{SITE}-pc"),
        command: command.to_vec(),
        limit_ms: 10_000,
    };
    let ended: Ended = lab.ask(request).await.expect("the lab runs it");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

fn status(lab: &Lab) -> serde_json::Value {
    let file = lab
        .state()
        .join("sites")
        .join(SITE)
        .join("state/status.json");
    let bytes = std::fs::read(file).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn counter(lab: &Lab, name: &str) -> u64 {
    status(lab)["counters"][name].as_u64().unwrap_or(0)
}

/// Waits until each front door's address has answered pulses that are told of only from now on.
async fn more_samples(lab: &Lab, truths: &[Truth]) {
    let answered = || -> Vec<usize> {
        let all = samples(&spooled(lab, SITE));
        let of = |truth: &Truth| pulses(&all, truth).count();
        truths.iter().map(of).collect()
    };
    let before = answered();
    poll_until("pulses that are answered", PATIENCE, PAUSE, async || {
        let more = |(now, before): (&usize, &usize)| *now >= before + 4;
        Ok(answered().iter().zip(&before).all(more).then_some(()))
    })
    .await
    .unwrap();
}

fn pulses<'a>(all: &'a [Sample], truth: &Truth) -> impl Iterator<Item = &'a Sample> {
    let to = Some(truth.destination);
    all.iter().filter(move |sample| {
        let kernel = matches!(sample.protocol, Protocol::Icmp | Protocol::Tcp);
        kernel && sample.phase == Phase::Rtt && sample.destination == to && sample.counts()
    })
}

/// Each sample is of a time that the agent's clock showed, and each report of one stretch of it.
fn times_are_those_of_a_clock(reports: &[Report], clocks: &Clocks) {
    let mut seen = 0;
    for report in reports {
        for series in &report.series {
            let mut at_ms = report.wall_anchor_unix_ms;
            for delta_ms in &series.at_delta_ms {
                at_ms += delta_ms;
                assert!(
                    clocks.showed(at_ms),
                    "report {} tells of {at_ms}, which no clock showed: {:?}",
                    report.sequence,
                    clocks.eras
                );
                seen += 1;
            }
        }
    }
    println!("{seen} samples are of times that a clock showed");
}

fn samples_are_true(all: &[Sample], truths: &[Truth]) {
    // After the sleep the sockets are opened anew: the echo that was under way to each front door is the machine's own affair.
    let (own, lost): (Vec<&Sample>, Vec<&Sample>) = all
        .iter()
        .filter(|sample| !matches!(sample.outcome, Outcome::Answered))
        .partition(|sample: &&Sample| matches!(sample.outcome, Outcome::LocalError));
    assert!(lost.is_empty(), "nothing was lost: {lost:?}");
    assert!(own.len() <= truths.len(), "once, one to each: {own:?}");
    for truth in truths {
        let truth_us = u32::try_from(truth.rtt_us.expect("it can be reached")).unwrap();
        let mut seen: Vec<u32> = pulses(all, truth).map(|sample| sample.rtt_us).collect();
        seen.sort_unstable();
        let (least, most) = (seen[0], seen[seen.len() - 1]);
        println!(
            "{}: {} pulses of {least} to {most} us, truth {truth_us}",
            truth.family(),
            seen.len()
        );
        assert!(least + BELOW_US >= truth_us, "{}: {least}", truth.family());
        assert!(most <= truth_us + EXCESS_US, "{}: {most}", truth.family());
    }
    // Phases that the agent stamps itself: none is the hour, none is less than nothing.
    let longest = all.iter().map(|sample| sample.rtt_us).max();
    assert!(longest < Some(10_000_000), "{longest:?}");
}

fn gaps_say_what_happened(reports: &[Report]) {
    let gaps: Vec<_> = reports.iter().flat_map(|report| &report.gaps).collect();
    let near = |ms: i64, want_ms: i64| (ms - want_ms).abs() < 2 * NEAR_MS + ASLEEP_MS;
    let asleep: Vec<i64> = (gaps.iter())
        .filter(|gap| gap.reason() == GapReason::Suspended)
        .map(|gap| gap.until_offset_ms - gap.from_offset_ms)
        .collect();
    assert_eq!(asleep.len(), 1, "{gaps:?}");
    assert!(near(asleep[0], NIGHT_MS), "{asleep:?}");
    let steps: Vec<i64> = (gaps.iter())
        .filter(|gap| gap.reason() == GapReason::ClockStep)
        .map(|gap| gap.step_ms)
        .collect();
    println!("{} steps of {STEPS} were seen", steps.len());
    // Back and ahead again between two looks is no step to anybody.
    assert!(
        steps.len().is_multiple_of(2) && steps.len() >= STEPS / 2,
        "{steps:?}"
    );
    for (number, step_ms) in steps.into_iter().enumerate() {
        let want_ms = if number % 2 == 0 { -HOUR_MS } else { HOUR_MS };
        assert!((step_ms - want_ms).abs() <= 100, "{number}: {step_ms}");
    }
}

const ASLEEP_MS: i64 = 2_000;

/// The collector has all of it, without a loss, and says the true round trip.
async fn collector_is_true(lab: &Lab, truths: &[Truth]) {
    let api = Api::new(&lab.dashboard()).unwrap();
    let told = async || Ok((status(lab)["spool_reports"].as_u64() == Some(0)).then_some(()));
    poll_until("the collector to take all", PATIENCE, PAUSE, told)
        .await
        .unwrap();
    let agent = api.agents().await.unwrap().remove(0).agent_id;
    for truth in truths {
        let truth_us = truth.rtt_us.expect("it can be reached");
        for protocol in ["icmp", "tcp"] {
            let target = truth.collector_target();
            let figures = async || {
                let figures = api.figures(&agent, &target, protocol).await?;
                Ok((figures.n >= 8).then_some(figures))
            };
            let figures = poll_until("figures", PATIENCE, PAUSE, figures)
                .await
                .unwrap();
            println!("{target} {protocol}: {figures:?}, truth {truth_us} us");
            assert_eq!(figures.loss_ratio, Some(0.0), "{target} {protocol}");
            for quantile_us in [figures.p50_us, figures.p99_us] {
                let off_us = quantile_us.expect("answered").abs_diff(truth_us);
                // Quantiles are of cells: they are right to a few per cent.
                assert!(
                    off_us <= u64::from(EXCESS_US) + truth_us / 20,
                    "{target} {protocol}: {figures:?}"
                );
            }
        }
    }
    assert_eq!(
        api.moves().await.unwrap().len(),
        0,
        "nothing happened to the path"
    );
}

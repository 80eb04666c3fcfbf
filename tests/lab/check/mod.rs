//! `firstmile-lab check`: what the product measures and flags, against what is true in the lab.

pub mod api;
mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::clock;
use crate::control::{Calibration, Request, Truth};
use crate::outer::{Lab, Options};
use api::{Agent, Api, Event};
pub use report::{Flagged, Report, Row, Rtt};

/// Learning takes twenty whole rounds of each path, which share the budget of the routers near the site, and a discovery: some four
/// minutes; past this something is wrong.
const LEARNING: Duration = Duration::from_mins(10);
/// A failover that is not flagged by then is missed.
const PATIENCE: Duration = Duration::from_mins(2);
/// Nothing else must be flagged within this time after a failover.
const AFTERMATH: Duration = Duration::from_mins(1);
/// How often the API is asked while waiting: the resolution of the delays.
const PAUSE: Duration = Duration::from_millis(500);
/// Routes settle within the hold time; then every site has its final path.
const SETTLING: Duration = Duration::from_secs(30);

/// What to check.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// How to bring the lab up.
    pub lab: Options,
    /// How long nothing must be flagged.
    pub quiet: Duration,
}

/// Brings a lab up, checks, and ends it.
///
/// # Errors
/// When the lab does not come up or breaks, or the API does not answer. A measurement that is wrong is no error: see
/// [`Report::passed`].
pub async fn run(options: CheckOptions, progress: &dyn Fn(&str)) -> anyhow::Result<Report> {
    let lab = Lab::start(options.lab, progress).await?;
    let checked = measure(&lab, options.quiet, progress).await;
    lab.stop().await;
    checked
}

/// Waits until every agent reports and has learned the path to every target over both families.
///
/// # Errors
/// When that takes too long; the text says who is not there yet.
pub async fn learned(api: &Api, lab: &Lab) -> anyhow::Result<Vec<Agent>> {
    let (sites, targets) = (lab.sites().len(), lab.targets());
    let mut last = Vec::new();
    let waited = clock::poll_until("agents and paths", LEARNING, PAUSE, async || {
        last = api.agents().await?;
        let stable = |agent: &Agent| {
            agent.targets.len() == targets
                && agent
                    .targets
                    .iter()
                    .all(|target| target.path_state == "stable")
        };
        let done = last.len() == sites
            && last
                .iter()
                .all(|agent| agent.state == "reporting" && stable(agent));
        Ok(done.then_some(()))
    })
    .await;
    waited.with_context(|| format!("still learning: {}", states(&last)))?;
    Ok(last)
}

fn states(agents: &[Agent]) -> String {
    let state = |agent: &Agent| {
        let targets: Vec<_> = agent
            .targets
            .iter()
            .map(|target| format!("{} {}", target.name, target.path_state))
            .collect();
        format!(
            "{} {} ({})",
            agent.site.name,
            agent.state,
            targets.join(", ")
        )
    };
    agents.iter().map(state).collect::<Vec<_>>().join("; ")
}

/// Checks a lab that is up; it is left with its POP failed.
///
/// # Errors
/// As [`run`].
pub async fn measure(
    lab: &Lab,
    quiet: Duration,
    progress: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    let api = Api::new(&lab.dashboard())?;
    let start = clock::now();
    progress("waiting until the agents have learned their paths");
    let agents = learned(&api, lab).await?;
    let learning_s = since(start);
    progress(&format!(
        "learned in {learning_s:.0} s; quiet for {quiet:?}"
    ));
    tokio::time::sleep(quiet).await;
    let truths: Vec<Truth> = lab.ask(Request::Truth).await?;
    let rows = compare(&api, &agents, &truths).await?;
    let mut false_events = api.moves().await?;
    progress(&format!(
        "{} events in the quiet time; failing a POP",
        false_events.len()
    ));
    let emulator: Calibration = lab.ask(Request::Calibrate).await?;
    let (failover, stray) = fail_over(lab, &api, &truths, &false_events).await?;
    false_events.extend(stray);
    let rtts = || rows.iter().flat_map(|row| &row.rtt);
    let right = rows.iter().filter(|row| row.path_right).count();
    let delays: Vec<f64> = failover
        .iter()
        .filter_map(|flagged| flagged.delay_s)
        .collect();
    let all = !failover.is_empty() && delays.len() == failover.len();
    Ok(Report {
        rtt_err_ms_max: rtts().filter_map(|rtt| rtt.error_ms).reduce(f64::max),
        rtt_within_target: rtts().all(Rtt::within_target),
        paths_right_ratio: ratio(right, rows.len()),
        failover_flagged: all,
        failover_delay_s: all.then(|| delays.iter().copied().fold(0.0, f64::max)),
        failover_site_delay_s: all.then(|| slowest_site_s(&failover)),
        failover_first_delay_s: delays.iter().copied().reduce(f64::min),
        false_events: false_events.len(),
        false_event_texts: false_events.iter().map(describe).collect(),
        quiet_s: quiet.as_secs(),
        learning_s,
        emulator,
        rows,
        failover,
    })
}

/// Measured medians and paths beside the truth, for every site and front door.
///
/// # Errors
/// When the API does not answer, or knows no agent of a site.
pub async fn compare(api: &Api, agents: &[Agent], truths: &[Truth]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for truth in truths {
        let agent = agents.iter().find(|agent| agent.site.name == truth.site);
        let agent = &agent
            .with_context(|| format!("no agent of {}", truth.site))?
            .agent_id;
        let truth_us = truth
            .rtt_us
            .with_context(|| format!("{} does not reach {}", truth.site, truth.target))?;
        let target = truth.collector_target();
        let mut rtt = Vec::new();
        for protocol in ["tcp", "icmp"] {
            let figures = api.figures(agent, &target, protocol).await?;
            rtt.push(Rtt::compare(protocol, figures.n, figures.p50_us, truth_us));
        }
        let path = api.path(agent, &target).await?;
        let addresses = |hop: &api::Hop| {
            let nodes = hop
                .nodes
                .iter()
                .map(|node| node.address.as_deref().unwrap_or("*"));
            nodes.collect::<Vec<_>>().join("|")
        };
        rows.push(Row::compare(
            truth,
            rtt,
            path.hops.iter().map(addresses).collect(),
        ));
    }
    Ok(rows)
}

/// The longest time in which a site was flagged at any of its targets.
fn slowest_site_s(failover: &[Flagged]) -> f64 {
    let mut soonest: BTreeMap<&str, f64> = BTreeMap::new();
    for flagged in failover {
        let delay_s = flagged.delay_s.unwrap_or(f64::INFINITY);
        let best = soonest.entry(flagged.site.as_str()).or_insert(delay_s);
        *best = best.min(delay_s);
    }
    soonest.into_values().fold(0.0, f64::max)
}

/// Fails the POP that most sites use. Returns what was flagged where it had to be, and events where nothing moved.
async fn fail_over(
    lab: &Lab,
    api: &Api,
    before: &[Truth],
    known: &[Event],
) -> anyhow::Result<(Vec<Flagged>, Vec<Event>)> {
    let injected = clock::now();
    let said: String = lab
        .ask(Request::Event {
            name: "pop-down".to_owned(),
        })
        .await?;
    ensure!(said.starts_with("pop-down"), "the POP did not fail: {said}");
    let moved = clock::poll_until(
        "other paths after the failure",
        SETTLING,
        PAUSE,
        async || {
            let after: Vec<Truth> = lab.ask(Request::Truth).await?;
            let settled = after.iter().all(|truth| truth.metro.is_some());
            let pairs = before
                .iter()
                .zip(&after)
                .filter(|(before, after)| before.metro != after.metro);
            Ok(settled.then(|| pairs.map(|(before, _)| before.clone()).collect::<Vec<_>>()))
        },
    )
    .await?;
    ensure!(!moved.is_empty(), "no site moved when the POP failed");
    let mut failover: Vec<Flagged> = moved
        .iter()
        .map(|truth| Flagged {
            collector_target: truth.collector_target(),
            site: truth.site.clone(),
            target: truth.target.clone(),
            family: truth.family(),
            delay_s: None,
        })
        .collect();
    let mut stray: Vec<Event> = Vec::new();
    let waiting = |failover: &[Flagged]| {
        let all = failover.iter().all(|flagged| flagged.delay_s.is_some());
        since(injected) < if all { AFTERMATH } else { PATIENCE }.as_secs_f64()
    };
    while waiting(&failover) {
        for event in new_events(api, known).await? {
            let same = |flagged: &&mut Flagged| {
                flagged.site == event.site_name && flagged.collector_target == event.target
            };
            match failover.iter_mut().find(same) {
                Some(flagged) if event.class == "geo" => {
                    flagged.delay_s.get_or_insert_with(|| since(injected));
                }
                Some(_) => {} // a finer class of the same move
                None if stray.iter().any(|known| known.event_id == event.event_id) => {}
                None => stray.push(event),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok((failover, stray))
}

async fn new_events(api: &Api, known: &[Event]) -> anyhow::Result<Vec<Event>> {
    let mut events = api.moves().await?;
    events.retain(|event| !known.iter().any(|known| known.event_id == event.event_id));
    Ok(events)
}

fn describe(event: &Event) -> String {
    format!(
        "{} at {} to {}: {}",
        event.class, event.site_name, event.target, event.text
    )
}

fn since(start: Instant) -> f64 {
    clock::now().saturating_duration_since(start).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "counts of paths are small")]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

//! The collector's own store with the reference day in it, and what its answers take.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use firstmile_collector::api::types::GeographyLevel;
use firstmile_collector::geo::{Geography, GeographySource};
use firstmile_collector::ingest::batch::{Marks, Sample};
use firstmile_collector::registry::{Agent, JoinGrant, Site, SiteId};
use firstmile_collector::rollup::Weighting;
use firstmile_collector::store::embedded::{self, Embedded};
use firstmile_collector::store::questions::{Answer, Dimension, Question, Questions, Rank};
use firstmile_collector::store::{Applied, InboxReport, SampleQuery, Scope, Store};
use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};
use firstmile_wire::v1::{Outcome, Phase, Protocol};
use uuid::Uuid;

use crate::arrivals::{Arrival, Stream};
use crate::clock;
use crate::codec::count;
use crate::reference::START_UNIX_MS;
use firstmile_figures::Figures;

const HOUR_MS: i64 = 3_600_000;
const FIVE_MINUTES_MS: i64 = 300_000;
/// Runs of a question; the middle one counts, the first is left out.
const RUNS: usize = 5;
const SECRET: [u8; 32] = [7; 32];
/// What the six series of an agent are.
const KINDS: [(Protocol, Phase); 3] = [
    (Protocol::Icmp, Phase::Rtt),
    (Protocol::Tcp, Phase::Rtt),
    (Protocol::Https, Phase::Ttfb),
];

/// Fills the store with the stream, and notes what answers take of processor time, in milliseconds.
pub(crate) fn measure(
    dir: &Path,
    agents: u32,
    hours: usize,
    seed: u64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let store = embedded::open(dir).await.context("cannot open a store")?;
        let from = clock::processor();
        let samples = fill(&store, agents, hours, seed).await?;
        let filled = clock::processor().saturating_sub(from);
        figures.note(
            "product_samples_per_cpu_s",
            count(samples) / filled.as_secs_f64(),
        );
        let end = START_UNIX_MS + i64::try_from(hours).unwrap_or(i64::MAX) * HOUR_MS;
        let from = clock::processor();
        store
            .maintain(end + HOUR_MS)
            .await
            .context("cannot build rollups")?;
        let built = clock::processor().saturating_sub(from);
        figures.note(
            "rollup_samples_per_cpu_s",
            count(samples) / built.as_secs_f64(),
        );
        // Some rounds of the last half minute are late.
        let day = START_UNIX_MS..end + FIVE_MINUTES_MS;
        let asked = Questioner { store: &store, day };
        asked.raw(samples, figures).await?;
        asked.rolled(figures).await
    })
}

struct Questioner<'a> {
    store: &'a Embedded,
    day: std::ops::Range<i64>,
}

impl Questioner<'_> {
    async fn raw(&self, samples: usize, figures: &mut Figures) -> anyhow::Result<()> {
        let metro = Dimension::Geography(GeographyLevel::Metro);
        let by_metro = Question {
            by: vec![metro],
            step_ms: Some(FIVE_MINUTES_MS),
            raw: true,
            weighting: Weighting::Sample,
            ..self.all()
        };
        let (answer, ms) = self.ask(&by_metro).await?;
        ensure!(
            answer.rests_on.samples == samples as u64,
            "{} of {samples} samples were read",
            answer.rests_on.samples
        );
        figures.note("q_metro_rows", answer.rows.len());
        figures.at_most("q_metro_raw_ms", ms, 250.0);
        let of_agents = Question {
            weighting: Weighting::Agent,
            ..by_metro.clone()
        };
        figures.note("q_metro_raw_agents_ms", self.ask(&of_agents).await?.1);
        let of_tcp = Question {
            measures: vec![(Protocol::Tcp, Phase::Rtt)],
            ..by_metro.clone()
        };
        figures.note("q_metro_raw_tcp_ms", self.ask(&of_tcp).await?.1);
        let top = Question {
            step_ms: None,
            quantiles: vec![0.95],
            ..by_metro
        };
        // All groups are ranked in one reading; the second only shows the first ones.
        let first = Question {
            top: Some((10, Rank::Quantile(0.95))),
            ..top
        };
        let (answer, ms) = self.ask(&first).await?;
        ensure!(
            answer.rows.len() == 10,
            "{} of 10 metros",
            answer.rows.len()
        );
        figures.at_most("q_top_ms", ms, 100.0);
        figures.at_most("q_agent_ms", self.one_agent().await?, 10.0);
        Ok(())
    }

    async fn rolled(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let by_metro = Question {
            by: vec![Dimension::Geography(GeographyLevel::Metro)],
            step_ms: Some(FIVE_MINUTES_MS),
            ..self.all()
        };
        let (answer, ms) = self.ask(&by_metro).await?;
        ensure!(answer.rests_on.samples == 0, "a rollup is missing");
        figures.at_most("q_metro_rollup_ms", ms, 30.0);
        let of_tcp = Question {
            measures: vec![(Protocol::Tcp, Phase::Rtt)],
            ..by_metro.clone()
        };
        figures.note("q_metro_rollup_tcp_ms", self.ask(&of_tcp).await?.1);
        let top = Question {
            step_ms: None,
            quantiles: vec![0.95],
            top: Some((10, Rank::Quantile(0.95))),
            ..by_metro.clone()
        };
        figures.at_most("q_top_rollup_ms", self.ask(&top).await?.1, 10.0);
        let countries = Question {
            by: vec![Dimension::Geography(GeographyLevel::Country)],
            step_ms: Some(HOUR_MS),
            ..by_metro
        };
        let (answer, ms) = self.ask(&countries).await?;
        figures.note("q_country_hours_rows", answer.rows.len());
        figures.note("q_country_hours_ms", ms);
        Ok(())
    }

    fn all(&self) -> Question {
        Question {
            from_unix_ms: self.day.start,
            to_unix_ms: self.day.end,
            measures: KINDS.to_vec(),
            ..Question::default()
        }
    }

    async fn ask(&self, question: &Question) -> anyhow::Result<(Answer, f64)> {
        let organisation = OrganisationId::default_organisation();
        let mut answer = Answer::default();
        let mut runs = Vec::new();
        for _ in 0..=RUNS {
            let from = clock::processor();
            answer = self.store.ask(&organisation, question).await?;
            runs.push(clock::processor().saturating_sub(from));
        }
        Ok((answer, middle(&runs)))
    }

    /// All samples of one agent, and its figures each five minutes.
    async fn one_agent(&self) -> anyhow::Result<f64> {
        let organisation = OrganisationId::default_organisation();
        let agent = agent_id(17);
        let query = SampleQuery {
            agent,
            from_unix_ms: self.day.start,
            to_unix_ms: self.day.end,
            target: None,
        };
        let question = Question {
            scope: Scope::Agent(agent),
            by: vec![Dimension::Target, Dimension::Protocol],
            step_ms: Some(FIVE_MINUTES_MS),
            ..self.all()
        };
        let mut runs = Vec::new();
        for _ in 0..=RUNS {
            let from = clock::processor();
            let samples = self.store.samples(&organisation, &query).await?;
            runs.push(clock::processor().saturating_sub(from));
            ensure!(!samples.is_empty(), "an agent has no samples");
        }
        let (_, figures) = self.ask(&question).await?;
        println!(
            "one agent: samples {:.1} ms, figures {figures:.1} ms",
            middle(&runs)
        );
        Ok(middle(&runs).max(figures))
    }
}

/// The middle one of all but the first, in milliseconds.
fn middle(runs: &[Duration]) -> f64 {
    let mut runs: Vec<f64> = runs
        .iter()
        .skip(1)
        .map(|run| run.as_secs_f64() * 1e3)
        .collect();
    runs.sort_by(f64::total_cmp);
    runs.get(runs.len() / 2).copied().unwrap_or(f64::NAN)
}

fn agent_id(number: u32) -> AgentId {
    AgentId(Uuid::from_u128(u128::from(number) + 1))
}

/// Settles the agents, a site in each metro, and sends the stream: reports of half an hour of an agent.
async fn fill(store: &Embedded, agents: u32, hours: usize, seed: u64) -> anyhow::Result<usize> {
    let mut stream = Stream::new(agents, seed);
    settle(store, &stream.metros()).await?;
    let mut samples = 0;
    for half_hour in 0..hours * 2 {
        let arrivals = stream.half_hour();
        samples += arrivals.len();
        let mut of_agents: Vec<Vec<Sample>> = vec![Vec::new(); agents as usize];
        for one in &arrivals {
            if let Some(of_agent) = of_agents.get_mut(one.agent as usize) {
                of_agent.push(sample_of(one));
            }
        }
        let received = START_UNIX_MS + (i64::try_from(half_hour).unwrap_or(0) + 1) * HOUR_MS / 2;
        let keys: Vec<ReportKey> = (0..agents).map(|agent| key(agent, half_hour)).collect();
        let reports = keys.iter().map(|key| InboxReport {
            received_unix_ms: received,
            frame: Vec::new(),
            key: key.clone(),
        });
        store.append(reports.collect()).await?;
        for (key, samples) in keys.iter().zip(of_agents) {
            let applied = Applied {
                samples,
                ..Applied::default()
            };
            store.apply(key, applied).await?;
        }
    }
    Ok(samples)
}

async fn settle(store: &Embedded, metros: &[u32]) -> anyhow::Result<()> {
    let organisation = OrganisationId::default_organisation();
    for metro in 0..=metros.iter().copied().max().unwrap_or(0) {
        let site = Site {
            id: SiteId(Uuid::from_u128(u128::from(metro) + 1)),
            organisation: organisation.clone(),
            name: format!("site {metro}"),
            geography: Geography {
                country: Some(format!("C{:02}", metro % 20)),
                metro: Some(format!("metro {metro}")),
                source: GeographySource::Declared,
                ..Geography::default()
            },
        };
        store.put_site(&site).await?;
    }
    let grant = JoinGrant {
        secret_digest: SECRET,
        organisation: organisation.clone(),
        site: None,
        created_unix_ms: START_UNIX_MS,
        expires_unix_ms: i64::MAX / 4,
        uses_max: u32::MAX,
        uses: 0,
        spent: None,
        revoked: false,
    };
    store.put_join_grant(&grant).await?;
    for (number, metro) in (0u32..).zip(metros) {
        let agent = Agent {
            id: agent_id(number),
            organisation: organisation.clone(),
            site: SiteId(Uuid::from_u128(u128::from(*metro) + 1)),
            hostname: format!("host-{number}"),
            version: String::new(),
            os: None,
            icmp_capability: None,
            enrolled_unix_ms: START_UNIX_MS,
            last_seen_unix_ms: None,
            spool_dropped_reports: 0,
            revoked: false,
            usual_gap_ms: 0,
        };
        let is_in = store.enroll(&SECRET, START_UNIX_MS, &agent).await?;
        ensure!(is_in, "an agent is not let in");
    }
    Ok(())
}

fn key(agent: u32, half_hour: usize) -> ReportKey {
    ReportKey {
        organisation: OrganisationId::default_organisation(),
        agent: agent_id(agent),
        epoch: Epoch(Uuid::from_u128(7)),
        sequence: half_hour as u64 + 1,
    }
}

fn sample_of(one: &Arrival) -> Sample {
    let place = one.series % 6;
    let (protocol, phase) = KINDS
        .get(place as usize % KINDS.len())
        .copied()
        .unwrap_or_default();
    let target: Arc<str> = if place < 3 { "first" } else { "second" }.into();
    Sample {
        at_unix_ms: one.row.at_unix_ms,
        target,
        destination: Some(std::net::Ipv4Addr::new(192, 0, 2, 1 + u8::from(place >= 3)).into()),
        protocol,
        phase,
        outcome: Outcome::try_from(i32::from(one.row.outcome)).unwrap_or_default(),
        rtt_us: one.row.rtt_us,
        reply_ttl: one.row.reply_ttl,
        marks: Marks(one.row.marks),
        scheduling_delay_us: one.scheduling_delay_us,
    }
}

//! Finds the facts out: everything at once, each check within its own time.

mod disk;
mod machine;
mod names;
mod reach;
mod rights;
mod web;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::facts::{Clock, Facts, ProxyVariable};
use crate::clock::{self, Anchor};
use crate::config::{self, AgentConfig};
use crate::net::capability::Advice;
use crate::net::handshake::TlsProber;
use crate::net::tls::ProbeTls;

/// Longest wait for one packet's answer, whatever the plan says: doctor is quick.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest time for all questions of names, for all probes of the targets after them, and for each fetched page beside them:
/// with [`PATIENCE`] for a PTR question less than 15 s in all.
const NAMES: Duration = Duration::from_secs(5);
const REACH: Duration = Duration::from_secs(6);
const PAGE: Duration = Duration::from_secs(6);

/// Groups of checks, for the progress shown.
pub(super) const GROUPS: usize = 4;

/// Finds everything out. `done` is called with the number of groups that are through.
///
/// # Errors
/// When `extra_roots` cannot be used.
pub(super) async fn facts(config: &AgentConfig, done: impl Fn(usize)) -> anyhow::Result<Facts> {
    let tls = TlsProber::new(ProbeTls::new(&config.extra_roots)?)?;
    let started = clock::anchor();
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let through = AtomicUsize::new(0);
    let tick = || done(through.fetch_add(1, Ordering::Relaxed) + 1);
    let patience = config.plan.probe_timeout.min(PATIENCE);
    let targets = async {
        let resolvers = names::ask(config, patience).await;
        tick();
        let engines = reach::Engines::new(config, tls, patience, &tasks, &cancel);
        let targets = reach::all(&engines, &config.targets, &resolvers).await;
        tick();
        (resolvers, targets)
    };
    let portal = async {
        let portal = web::portal(config, patience).await;
        tick();
        portal
    };
    let collector = async {
        let collector = web::collector(config).await;
        tick();
        collector
    };
    let place = machine::look(config, patience, &tasks, &cancel);
    let ((resolvers, targets), (portal, portal_date), (collector, collector_date), machine) =
        tokio::join!(targets, portal, collector, place);
    cancel.cancel();
    Ok(Facts {
        setcap: Advice::new().raw_sockets(),
        rights: rights::rights(),
        flows: config.plan.trace_flows,
        resolvers,
        targets,
        proxies: proxies(config),
        clock: clock_facts(started, clock::anchor(), collector_date.or(portal_date)),
        portal,
        collector,
        state: disk::state(config),
        machine,
    })
}

fn clock_facts(started: Anchor, now: Anchor, other: Option<web::OtherClock>) -> Clock {
    let passed_ms = started.offset_ms(now.instant);
    Clock {
        unix_ms: now.wall_unix_ms,
        moved_ms: now.wall_unix_ms - started.wall_unix_ms - passed_ms,
        offset: other.map(|other| (other.offset_ms, other.whose)),
    }
}

/// The proxy variables, without the passwords that may stand in them.
fn proxies(config: &AgentConfig) -> Vec<ProxyVariable> {
    let shown = |(name, value): (&'static str, String)| {
        let url = url::Url::parse(&value).or_else(|_| url::Url::parse(&format!("http://{value}")));
        let is_list = name.eq_ignore_ascii_case("no_proxy");
        let Ok(mut url) = url else {
            return ProxyVariable {
                name: name.to_owned(),
                value: if is_list { value } else { "…".to_owned() },
                is_url: false,
            };
        };
        let hidden = url.set_username("").and_then(|()| url.set_password(None));
        ProxyVariable {
            name: name.to_owned(),
            value: if is_list { value } else { url.to_string() },
            is_url: hidden.is_ok() && url.has_host(),
        }
    };
    match config.proxy.of_file() {
        None => {
            let script = config::proxy_script();
            let named = config::proxy_variables().into_iter().chain(script);
            named.map(shown).collect()
        }
        Some(url) if url.is_empty() => Vec::new(),
        Some(url) => vec![shown(("proxy.url", url))],
    }
}

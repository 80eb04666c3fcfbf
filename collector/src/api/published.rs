//! Metrics under the names that are published for `Microsoft.Peering`, as far as they can be measured from here.
//!
//! Their names, units and dimensions are those of the published list; a label of ours beside them says of which resource they are. What
//! agents cannot see (rates of traffic, dropped packets of a session) is not here.

use std::collections::{BTreeMap, BTreeSet};

use firstmile_peering::Resources;
use firstmile_peering::connection::sites_of;
use firstmile_peering::model::Resource;
use firstmile_wire::ids::OrganisationId;
use firstmile_wire::v1::{Phase, Protocol};

use super::ApiState;
use super::arm::measured_by;
use super::failure::Failure;
use super::metrics::Page;
use super::types::GeographyLevel;
use crate::rollup::{MINUTE_MS, window_start};
use crate::store::questions::{AnswerRow, Dimension, Quantile, Question};
use crate::store::{CellQuery, Group, Scope};

/// Tests that are told; each costs some queries.
const TESTS_MAX: usize = 200;
/// Lines of each other metric.
const LINES_MAX: usize = 10_000;
/// Tests are of the last five whole minutes, all else of the last sixty.
const TEST_MS: i64 = 5 * MINUTE_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Quarters and the middle.
const QUARTERS: [f64; 3] = [0.25, 0.5, 0.75];

/// What was measured from a site in the last hour, by one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Measured {
    probes: f64,
    lost: f64,
    mean_ms: f64,
    median_ms: f64,
    /// Between the quarters.
    spread_ms: f64,
}

/// Figures by the name of the site, and the word of the protocol.
type OfSites = BTreeMap<String, BTreeMap<String, Measured>>;

/// Adds them to the page; nothing while nothing is registered.
pub(super) async fn add(
    state: &ApiState,
    organisation: &OrganisationId,
    page: &mut Page,
) -> Result<(), Failure> {
    let resources = state.store.resources(organisation).await?;
    if resources.all().next().is_none() {
        return Ok(());
    }
    tests(state, organisation, &resources, page).await?;
    let sites = of_sites(state, organisation).await?;
    probes(&resources, &sites, page);
    prefixes(&resources, &sites, page);
    sessions(state, &resources, page);
    Ok(())
}

async fn tests(
    state: &ApiState,
    organisation: &OrganisationId,
    resources: &Resources,
    page: &mut Page,
) -> Result<(), Failure> {
    let all = resources
        .all()
        .filter_map(|one| Some((one, one.properties.test()?)));
    let all: Vec<_> = all.take(TESTS_MAX).collect();
    if all.is_empty() {
        return Ok(());
    }
    let agents = state.store.agents(organisation).await?;
    let to_unix_ms = window_start((state.now_unix_ms)(), MINUTE_MS);
    let help = "Mean round-trip time of the connection monitor's tests, milliseconds";
    page.published_head("RoundTripTime", "gauge", help);
    for (resource, test) in all {
        let Some((agent, target)) = measured_by(state, organisation, &agents, test).await? else {
            continue;
        };
        let query = CellQuery {
            from_unix_ms: to_unix_ms - TEST_MS,
            to_unix_ms,
            step_ms: None,
            protocol: Protocol::Tcp,
            phase: Phase::Rtt,
            target: Some(target),
            scope: Scope::Agent(agent),
            group: Group::All,
        };
        let cells = state.store.cells(organisation, &query).await?;
        if let Some(mean_us) = cells.first().and_then(|row| row.cell.answered.mean()) {
            let outer = resource.id.outer();
            let labels = [
                ("PeeringService", outer.name()),
                ("ConnectionMonitorTestName", resource.id.name()),
            ];
            page.published_line("RoundTripTime", &labels, mean_us / 1e3);
        }
    }
    Ok(())
}

async fn of_sites(state: &ApiState, organisation: &OrganisationId) -> Result<OfSites, Failure> {
    let to_unix_ms = window_start((state.now_unix_ms)(), MINUTE_MS);
    let question = Question {
        from_unix_ms: to_unix_ms - HOUR_MS,
        to_unix_ms,
        measures: vec![(Protocol::Tcp, Phase::Rtt), (Protocol::Icmp, Phase::Rtt)],
        by: vec![
            Dimension::Geography(GeographyLevel::Site),
            Dimension::Protocol,
        ],
        quantiles: QUARTERS.to_vec(),
        ..Question::default()
    };
    let answer = state.store.ask(organisation, &question).await?;
    let names = state.store.sites(organisation).await?;
    let names: BTreeMap<String, String> = names
        .into_iter()
        .map(|site| (site.id.to_string(), site.name))
        .collect();
    let mut sites = OfSites::new();
    for row in &answer.rows {
        let mut words = row.key.iter();
        let (site, protocol) = (words.next(), words.next());
        let name = site.and_then(|site| names.get(&**site));
        if let Some(((name, protocol), measured)) = name.zip(protocol).zip(measured(row)) {
            let of_site = sites.entry(name.clone()).or_default();
            of_site.insert(protocol.to_uppercase(), measured);
        }
    }
    Ok(sites)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody sends 2^53 probes in an hour"
)]
fn measured(row: &AnswerRow) -> Option<Measured> {
    let ms = |quantile: Option<&Quantile>| match quantile {
        Some(Quantile::Us(us)) => Some(f64::from(*us) / 1e3),
        Some(_) | None => None,
    };
    let [low, middle, high] = [0, 1, 2].map(|at| ms(row.quantiles.get(at)));
    (row.n > 0).then(|| Measured {
        probes: row.n as f64,
        lost: row.lost as f64,
        mean_ms: row.mean_us.unwrap_or(f64::NAN) / 1e3,
        median_ms: middle.unwrap_or(f64::NAN),
        spread_ms: high.zip(low).map_or(f64::NAN, |(high, low)| high - low),
    })
}

/// The mean over several sites, each by its probes; `None` where nothing was answered.
fn mean<'a>(
    all: impl Iterator<Item = &'a Measured>,
    figure: impl Fn(&Measured) -> f64,
) -> Option<f64> {
    let known = all.filter(|one| figure(one).is_finite());
    let (sum, probes) = known.fold((0.0, 0.0), |(sum, probes), one| {
        (sum + one.probes * figure(one), probes + one.probes)
    });
    (probes > 0.0).then(|| sum / probes)
}

/// What the sites of a connection measured by one protocol.
fn of_connection<'a>(
    connection: &Resource,
    sites: &'a OfSites,
    protocol: &'a str,
) -> Vec<&'a Measured> {
    let names = sites_of(connection);
    let found = names.iter().filter_map(|name| sites.get(name));
    found.filter_map(|site| site.get(protocol)).collect()
}

fn probes(resources: &Resources, sites: &OfSites, page: &mut Page) {
    type Figure = fn(&Measured) -> f64;
    let metrics: [(&str, &str, Figure); 3] = [
        (
            "ConnectivityProbeAvailability",
            "Share of probes of the last hour that were answered, percent",
            |one| 100.0 * (1.0 - one.lost / one.probes),
        ),
        (
            "ConnectivityProbeLatency",
            "Mean round-trip time of the last hour, milliseconds",
            |one| one.mean_ms,
        ),
        (
            "ConnectivityProbeJitter",
            "Distance between the quarters of round-trip times of the last hour, milliseconds",
            |one| one.spread_ms,
        ),
    ];
    for (name, help, figure) in metrics {
        page.published_head(name, "gauge", help);
        let connections = resources
            .all()
            .filter(|one| one.properties.service().is_some());
        for connection in connections.take(LINES_MAX) {
            for protocol in ["ICMP", "TCP"] {
                let own = of_connection(connection, sites, protocol);
                if let Some(value) = mean(own.into_iter(), figure) {
                    let labels = [
                        ("PeeringService", connection.id.name()),
                        ("Protocol", protocol),
                    ];
                    page.published_line(name, &labels, value);
                }
            }
        }
    }
}

fn prefixes(resources: &Resources, sites: &OfSites, page: &mut Page) {
    let mut by_connection: BTreeMap<String, Option<f64>> = BTreeMap::new();
    let mut by_prefix = BTreeMap::new();
    let mut by_key: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for resource in resources.all() {
        let Some(own) = resource.properties.prefix() else {
            continue;
        };
        let outer = resource.id.outer();
        let median = by_connection.entry(outer.key()).or_insert_with(|| {
            let connection = resources.one(&outer)?;
            let own = of_connection(connection, sites, "TCP");
            mean(own.into_iter(), |one| one.median_ms)
        });
        if let Some(median) = *median {
            by_prefix.insert(own.prefix, median);
            if let Some(key) = &own.peering_service_prefix_key {
                by_key.entry(key.to_lowercase()).or_default().push(median);
            }
        }
    }
    let help = "Median round-trip time of the last hour from the sites of a registered prefix, milliseconds";
    page.published_head("RegisteredPrefixLatency", "gauge", help);
    let registered = resources
        .all()
        .filter_map(|one| Some((one, one.properties.registered_prefix()?)));
    let known = registered.filter_map(|(one, own)| Some((one, by_prefix.get(&own.prefix)?)));
    for (resource, median) in known.take(LINES_MAX) {
        let outer = resource.id.outer();
        let labels = [
            ("Peering", outer.name()),
            ("RegisteredPrefixName", resource.id.name()),
        ];
        page.published_line("RegisteredPrefixLatency", &labels, median);
    }
    let help = "Mean of the medians of all prefixes of a registered AS, milliseconds";
    page.published_head("AverageCustomerPrefixLatency", "gauge", help);
    let registered = resources
        .all()
        .filter_map(|one| Some((one, one.properties.registered_asn()?)));
    for (resource, own) in registered.take(LINES_MAX) {
        let medians = by_key.get(&own.peering_service_prefix_key.to_string());
        if let Some(value) = medians.and_then(|all| average(all)) {
            let outer = resource.id.outer();
            let labels = [
                ("Peering", outer.name()),
                ("RegisteredAsnName", resource.id.name()),
            ];
            page.published_line("AverageCustomerPrefixLatency", &labels, value);
        }
    }
}

fn average(all: &[f64]) -> Option<f64> {
    let count = f64::from(u32::try_from(all.len()).unwrap_or(u32::MAX));
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / count)
}

fn sessions(state: &ApiState, resources: &Resources, page: &mut Page) {
    let seen = state.registry.sessions(resources, (state.now_unix_ms)());
    let mut lines = Vec::new();
    for resource in resources.all() {
        let Some(peering) = resource.properties.peering() else {
            continue;
        };
        let connections = peering.direct.iter().flat_map(|direct| &direct.connections);
        let own = connections.filter_map(|link| link.bgp_session.as_ref());
        let addresses: BTreeSet<_> = own
            .flat_map(|session| [session.peer_v4, session.peer_v6])
            .flatten()
            .collect();
        for address in addresses {
            if let Some(session) = seen.get(&address) {
                lines.push((resource.id.name().to_owned(), address.to_string(), session));
            }
        }
    }
    lines.truncate(LINES_MAX);
    let help = "Whether the BGP session is up";
    page.published_head("SessionAvailability", "gauge", help);
    for (peering, address, session) in &lines {
        let labels = [("Peering", peering.as_str()), ("SessionIp", address)];
        page.published_line("SessionAvailability", &labels, u8::from(!session.down));
    }
    let help = "How often the BGP session went down since the collector's start";
    page.published_head("FlapCounts", "counter", help);
    for (peering, address, session) in &lines {
        let labels = [("Peering", peering.as_str()), ("SessionIp", address)];
        page.published_line("FlapCounts", &labels, session.flaps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_sites_count_by_their_probes_and_silent_ones_do_not() {
        let site = |probes, median_ms| Measured {
            probes,
            median_ms,
            ..Measured::default()
        };
        let all = [site(30.0, 10.0), site(10.0, 30.0), site(50.0, f64::NAN)];
        assert_eq!(mean(all.iter(), |one| one.median_ms), Some(15.0));
        assert_eq!(mean(all[2..].iter(), |one| one.median_ms), None);
        assert_eq!(average(&[]), None);
        assert_eq!(average(&[1.0, 2.0]), Some(1.5));
    }
}

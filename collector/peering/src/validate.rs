//! Whether a registered prefix keeps the rules of Peering Service, from what is registered and what feeds show.
//!
//! The rules are those of Microsoft's prefix requirements (2023-07, 2024-10): announced on every session of the partner at the
//! primary and the backup location, with community 8075:8007, over at most three ASes, none of them private and none
//! prepended, two sessions on two routers at the primary, one at the backup; the right key; no overlap. A rule that nothing
//! connected can show is `not observable`: it makes the state `Unknown`, never `Failed`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Resources;
use crate::directory::Directory;
use crate::id::ResourceId;
use crate::model::{Connection, Peering, Service};
use crate::routes::{Route, Sessions};
use crate::verdict::{Finding, Rule, Verdict, Weight};

/// The community of routes for Peering Service.
pub const COMMUNITY: (u16, u16) = (8075, 8007);
/// Longest AS path, prepends included.
pub const PATH_MAX: usize = 3;
/// Sessions, on routers of their own, that a partner needs at the primary location.
const PRIMARY_SESSIONS: usize = 2;

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The prefix's own id.
    pub id: &'a ResourceId,
    /// The prefix.
    pub prefix: IpNet,
    /// The key that its customer gave.
    pub key: Option<&'a str>,
    /// Its connection.
    pub service: &'a Service,
    /// All that is registered.
    pub resources: &'a Resources,
    /// The partners.
    pub directory: &'a Directory,
    /// What feeds show.
    pub sessions: &'a Sessions,
}

/// Judges one prefix of a customer's connection.
pub fn judge(case: &Case<'_>) -> Verdict {
    let mut findings = of_the_prefix(case.prefix);
    findings.extend(of_overlap(case));
    let partner = case
        .service
        .peering_service_provider
        .as_deref()
        .unwrap_or_default();
    let Some(provider) = case.directory.provider(partner) else {
        let detail = format!(
            "no partner is called {partner:?}; add it to the directory, or mend the connection"
        );
        findings.push(Finding::new(Rule::ProviderNotFound, Weight::Broken, detail));
        return Verdict::of(findings, "None");
    };
    let peerings = peerings_of(case.resources, case.directory, &provider.name);
    findings.extend(of_the_key(case));
    if peerings.is_empty() {
        let detail = format!(
            "no peering of {} with Microsoft is registered here, so nobody knows which sessions should carry the prefix",
            provider.name
        );
        findings.push(Finding::new(
            Rule::NotReceived,
            Weight::NotObservable,
            detail,
        ));
        return Verdict::of(findings, "None");
    }
    let expected = expected_sessions(case, &peerings, &mut findings);
    let mut learned = "None";
    for session in expected {
        let (found, how) = on_session(case.prefix, session, case.sessions);
        findings.extend(found);
        learned = how.unwrap_or(learned);
    }
    Verdict::of(findings, learned)
}

/// The partner's sessions for a prefix: at the primary location, and at the backup one.
pub fn sides(case: &Case<'_>) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let service = case.service;
    let partner = service
        .peering_service_provider
        .as_deref()
        .unwrap_or_default();
    let Some(provider) = case.directory.provider(partner) else {
        return Default::default();
    };
    let peerings = peerings_of(case.resources, case.directory, &provider.name);
    let at = |metro: Option<&str>| -> Vec<IpAddr> {
        let found = metro.map(|metro| sessions_of(&peerings, Some(metro), case.prefix));
        found.into_iter().flatten().collect()
    };
    let primary = service.provider_primary_peering_location.as_deref();
    (at(primary), at(service.backup()))
}

/// Judges one prefix that a partner registered under a peering: its own sessions only.
pub fn judge_registered(prefix: IpNet, peering: &Peering, sessions: &Sessions) -> Verdict {
    let mut findings = of_the_prefix(prefix);
    let expected = sessions_of(&[peering], None, prefix);
    if routers(&[peering], None, prefix) < PRIMARY_SESSIONS {
        let detail = "the peering has fewer than two sessions on two routers";
        findings.push(Finding::new(
            Rule::PrimaryRedundancy,
            Weight::Broken,
            detail,
        ));
    }
    let mut learned = "None";
    for session in expected {
        let (found, how) = on_session(prefix, session, sessions);
        findings.extend(found);
        learned = how.unwrap_or(learned);
    }
    Verdict::of(findings, learned)
}

fn of_the_prefix(prefix: IpNet) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(private) = private_space()
        .into_iter()
        .find(|space| overlap(*space, prefix))
    {
        let detail = format!("{prefix} overlaps {private}, which is not routed on the internet");
        findings.push(Finding::new(Rule::PrivateRange, Weight::Hopeless, detail));
    }
    if matches!(prefix, IpNet::V6(_)) {
        let detail =
            "Microsoft's published rules are of IPv4; this prefix is judged by the same ones";
        findings.push(Finding::new(Rule::Ipv6, Weight::Note, detail));
    }
    findings
}

fn of_overlap(case: &Case<'_>) -> Vec<Finding> {
    let others = case
        .resources
        .overlapping(case.prefix)
        .filter(|other| other.id.key() != case.id.key());
    let found = others.filter_map(|other| {
        let one = other.properties.prefix()?.prefix;
        let detail = format!("{one} is registered as {}", other.id);
        Some(Finding::new(Rule::Overlap, Weight::Broken, detail))
    });
    found.collect()
}

fn of_the_key(case: &Case<'_>) -> Option<Finding> {
    let given = case
        .key
        .and_then(|key| uuid::Uuid::parse_str(key.trim()).ok());
    let of_key = given.into_iter().flat_map(|key| case.resources.of_key(key));
    let covers = of_key.map(|one| {
        let prefix = one.properties.registered_prefix();
        prefix.is_none_or(|one| one.prefix.contains(&case.prefix))
    });
    let covers: Vec<bool> = covers.collect();
    if covers.contains(&true) {
        return None;
    }
    let elsewhere = !covers.is_empty();
    let registered = case.resources.is_registered(case.prefix);
    let (weight, detail) = match (given, registered || elsewhere) {
        (None, _) => (
            Weight::Broken,
            "the connection has no usable key (a UUID) for this prefix; ask the partner for it",
        ),
        (Some(_), true) => (
            Weight::Broken,
            "the key is not the one of the partner's registration of this prefix",
        ),
        (Some(_), false) => (
            Weight::NotObservable,
            "the partner's registration is not in this registry",
        ),
    };
    Some(Finding::new(Rule::KeyMismatch, weight, detail))
}

/// The peerings of a partner that Peering Service may use.
fn peerings_of<'a>(
    resources: &'a Resources,
    directory: &Directory,
    provider: &str,
) -> Vec<&'a Peering> {
    let is_theirs = |peering: &Peering| {
        let direct = peering.direct.as_ref();
        let asn = direct.and_then(|direct| direct.peer_asn.as_ref());
        let asn = asn.and_then(|asn| asn.id.parse::<ResourceId>().ok());
        let resource = asn.and_then(|id| resources.one(&id));
        let asn = resource.and_then(|resource| resource.properties.peer_asn());
        let name = asn.and_then(|asn| asn.peer_name.as_deref());
        let known = name.and_then(|name| directory.provider(name));
        known.is_some_and(|known| known.name == provider)
    };
    let all = resources.peerings();
    let all = all.filter_map(|one| one.properties.peering());
    let usable = all.filter(|peering| {
        peering
            .direct
            .as_ref()
            .is_some_and(|direct| direct.use_for_peering_service != Some(false))
    });
    usable.filter(|peering| is_theirs(peering)).collect()
}

/// The sessions that should carry the prefix, and what is missing among them.
fn expected_sessions(
    case: &Case<'_>,
    peerings: &[&Peering],
    findings: &mut Vec<Finding>,
) -> BTreeSet<IpAddr> {
    let primary = case
        .service
        .provider_primary_peering_location
        .as_deref()
        .unwrap_or_default();
    let found = routers(peerings, Some(primary), case.prefix);
    if found < PRIMARY_SESSIONS {
        let detail = format!(
            "{found} of 2 sessions on routers of their own at the primary location {primary:?}"
        );
        findings.push(Finding::new(
            Rule::PrimaryRedundancy,
            Weight::Broken,
            detail,
        ));
    }
    let mut sessions = sessions_of(peerings, Some(primary), case.prefix);
    if let Some(backup) = case.service.backup() {
        let at_backup = sessions_of(peerings, Some(backup), case.prefix);
        if at_backup.is_empty() {
            let detail = format!("no session at the backup location {backup:?}");
            findings.push(Finding::new(Rule::BackupMissing, Weight::Broken, detail));
        }
        sessions.extend(at_backup);
    }
    sessions
}

fn connections<'a>(peerings: &[&'a Peering], metro: Option<&str>) -> Vec<&'a Connection> {
    let at = |peering: &&&Peering| {
        metro.is_none_or(|metro| {
            let own = peering.peering_location.as_deref().unwrap_or_default();
            own.eq_ignore_ascii_case(metro)
        })
    };
    let direct = peerings
        .iter()
        .filter(at)
        .filter_map(|peering| peering.direct.as_ref());
    direct.flat_map(|direct| &direct.connections).collect()
}

/// The partner's addresses of the sessions of the prefix's family.
fn sessions_of(peerings: &[&Peering], metro: Option<&str>, prefix: IpNet) -> BTreeSet<IpAddr> {
    let sessions = connections(peerings, metro)
        .into_iter()
        .filter_map(|link| link.bgp_session.as_ref());
    let address = sessions.filter_map(|session| match prefix {
        IpNet::V4(_) => session.peer_v4,
        IpNet::V6(_) => session.peer_v6,
    });
    address.collect()
}

/// How many routers of Microsoft's those sessions end at; a session that names none counts as one of its own.
fn routers(peerings: &[&Peering], metro: Option<&str>, prefix: IpNet) -> usize {
    let sessions = connections(peerings, metro)
        .into_iter()
        .filter_map(|link| link.bgp_session.as_ref());
    let routers = sessions.filter_map(|session| match prefix {
        IpNet::V4(_) => session
            .peer_v4
            .map(|peer| session.microsoft_v4.unwrap_or(peer)),
        IpNet::V6(_) => session
            .peer_v6
            .map(|peer| session.microsoft_v6.unwrap_or(peer)),
    });
    routers.collect::<BTreeSet<_>>().len()
}

fn on_session(
    prefix: IpNet,
    address: IpAddr,
    sessions: &Sessions,
) -> (Vec<Finding>, Option<&'static str>) {
    let on = |rule, weight, detail: String| Finding {
        session: Some(address),
        ..Finding::new(rule, weight, detail)
    };
    let Some(session) = sessions.get(&address) else {
        let detail = "no connected feed shows this session; connect the router by BMP".to_owned();
        return (
            vec![on(Rule::NotReceived, Weight::NotObservable, detail)],
            None,
        );
    };
    if session.down {
        let detail = format!("the session with AS{} is down", session.asn);
        return (vec![on(Rule::NotReceived, Weight::Broken, detail)], None);
    }
    let route = session.routes.get(&prefix);
    if route.is_none() && session.incomplete {
        let detail = "the routes of this session are not all known yet, or are too many".to_owned();
        return (
            vec![on(Rule::NotReceived, Weight::NotObservable, detail)],
            None,
        );
    }
    let Some(route) = route else {
        let detail = format!("AS{} does not announce {prefix} here", session.asn);
        return (vec![on(Rule::NotReceived, Weight::Broken, detail)], None);
    };
    let mut findings: Vec<Finding> = of_the_path(route)
        .into_iter()
        .map(|(rule, detail)| on(rule, Weight::Broken, detail))
        .collect();
    match &route.communities {
        None => {
            let detail = "the feed shows no communities".to_owned();
            findings.push(on(Rule::CommunityMissing, Weight::NotObservable, detail));
        }
        Some(all) if !all.contains(&COMMUNITY) => {
            let (high, low) = COMMUNITY;
            let detail = format!("the route does not carry {high}:{low}");
            findings.push(on(Rule::CommunityMissing, Weight::Broken, detail));
        }
        Some(_) => {}
    }
    let own = route.path.last() == Some(&session.asn);
    (
        findings,
        Some(if own {
            "ViaSession"
        } else {
            "ViaServiceProvider"
        }),
    )
}

fn of_the_path(route: &Route) -> Vec<(Rule, String)> {
    let path = &route.path;
    let text: Vec<String> = path.iter().map(ToString::to_string).collect();
    let text = text.join(" ");
    let mut found = Vec::new();
    if path.len() > PATH_MAX {
        let detail = format!(
            "{} ASes in the path {text}, at most {PATH_MAX} are allowed",
            path.len()
        );
        found.push((Rule::PathTooLong, detail));
    }
    if let Some(asn) = path.iter().find(|asn| is_private_asn(**asn)) {
        found.push((
            Rule::PrivateAsn,
            format!("AS{asn} in the path {text} is a private one"),
        ));
    }
    let twice = path
        .iter()
        .zip(path.iter().skip(1))
        .find(|(one, next)| one == next);
    if let Some((asn, _)) = twice {
        found.push((
            Rule::Prepended,
            format!("AS{asn} is prepended in the path {text}"),
        ));
    }
    found
}

/// AS numbers for private use (RFC 6996 §5).
const fn is_private_asn(asn: u32) -> bool {
    matches!(asn, 64_512..=65_534 | 4_200_000_000..=4_294_967_294)
}

/// Space that is never routed between networks (RFC 1918 §3, RFC 6598 §7, RFC 4193 §3.1 and the like); documentation and
/// benchmark space is left out, since laboratories register it.
fn private_space() -> Vec<IpNet> {
    let v4 = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 168, 0, 0], 16),
        ([224, 0, 0, 0], 3),
    ];
    let v6 = [(0_u16, 8), (0xfc00, 7), (0xfe80, 10), (0xff00, 8)];
    let v4 = v4
        .into_iter()
        .filter_map(|(address, length)| Ipv4Net::new(address.into(), length).ok());
    let v6 = v6.into_iter().filter_map(|(first, length)| {
        let address = [first, 0, 0, 0, 0, 0, 0, 0];
        Ipv6Net::new(address.into(), length).ok()
    });
    v4.map(IpNet::V4).chain(v6.map(IpNet::V6)).collect()
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

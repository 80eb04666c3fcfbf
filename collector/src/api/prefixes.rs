//! Registered prefixes: how each is by the rules, on which session and by which route, and what routing says of it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use firstmile_peering::desk::{World, verdict_of};
use firstmile_peering::model::Resource;
use firstmile_peering::routes::Sessions;
use firstmile_peering::validate::COMMUNITY;
use firstmile_peering::verdict::{Finding, Rule, Weight};
use firstmile_routing::asn::Asn;
use firstmile_routing::remedy::{Remedy, Router};
use ipnet::IpNet;

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::types::{
    ApiError, PrefixFinding, PrefixRoute, RegisteredPrefix, RoutingRemedy, RoutingVerdict,
};
use crate::store::routing::VerdictQuery;

/// Open verdicts that are looked at.
const VERDICTS_MAX: u32 = 10_000;

/// Registered prefixes with their state by the rules of the service, judged by what connected feeds show now.
#[utoipa::path(get, path = "/api/v1/prefixes", tag = "routing", operation_id = "prefixes",
    responses((status = 200, body = [RegisteredPrefix]), (status = 401, body = ApiError)))]
pub(super) async fn prefixes(
    State(state): State<ApiState>,
    access: Access,
) -> Result<Json<Vec<RegisteredPrefix>>, Failure> {
    let organisation = &access.organisation;
    let resources = state.store.resources(organisation).await?;
    let open = VerdictQuery {
        open: Some(true),
        from_unix_ms: 0,
        limit: VERDICTS_MAX,
    };
    let open = state.store.verdicts(organisation, open).await?;
    let (events, tests) = (BTreeMap::new(), BTreeMap::new());
    let sessions = state.registry.sessions(&resources, (state.now_unix_ms)());
    let world = World {
        resources: &resources,
        directory: &state.registry.directory,
        sessions: &sessions,
        events: &events,
        tests: &tests,
    };
    let all = resources.all().filter_map(|one| shown(&world, one, &open));
    Ok(Json(all.collect()))
}

fn shown(
    world: &World<'_>,
    resource: &Resource,
    open: &[RoutingVerdict],
) -> Option<RegisteredPrefix> {
    let registered = resource.properties.prefix()?;
    let verdict = verdict_of(world, &resource.id, registered)?;
    let prefix = registered.prefix;
    let concerned = |one: &&RoutingVerdict| {
        let of = one.matched.as_ref().unwrap_or(&one.prefix);
        of.parse::<IpNet>()
            .is_ok_and(|of| of == prefix || of.contains(&prefix))
    };
    let concerned: Vec<&RoutingVerdict> = open.iter().filter(concerned).collect();
    Some(RegisteredPrefix {
        id: resource.id.to_string(),
        name: resource.id.name().to_owned(),
        connection: resource.id.outer().name().to_owned(),
        prefix: prefix.to_string(),
        state: verdict.state.as_str().to_owned(),
        learned: verdict.learned.to_owned(),
        findings: verdict
            .findings
            .iter()
            .map(|finding| finding_of(finding, world.sessions, &prefix))
            .collect(),
        routes: routes_of(world.sessions, &prefix),
        verdicts_open: u32::try_from(concerned.len()).unwrap_or(u32::MAX),
        incident_id: concerned.iter().find_map(|one| one.incident_id.clone()),
    })
}

fn finding_of(finding: &Finding, sessions: &Sessions, prefix: &IpNet) -> PrefixFinding {
    let session = finding.session.and_then(|address| sessions.get(&address));
    let route = session.and_then(|session| session.routes.get(prefix));
    let elsewhere = || sessions.values().find_map(|one| one.routes.get(prefix));
    let announced = route.or_else(elsewhere);
    let origin = announced.and_then(|route| route.path.last().copied());
    PrefixFinding {
        rule: finding.rule.code().to_owned(),
        weight: match finding.weight {
            Weight::Note => "note",
            Weight::NotObservable => "not_observable",
            Weight::Broken => "broken",
            Weight::Hopeless => "hopeless",
        }
        .to_owned(),
        session: finding.session.map(|address| address.to_string()),
        as_path: route.map(|route| path_of(&route.path)),
        detail: finding.detail.clone(),
        remedy: remedy_of(finding, origin, prefix),
    }
}

/// What to announce where a rule about routes is broken, from the AS that announces the prefix on this session or another.
fn remedy_of(finding: &Finding, origin: Option<u32>, prefix: &IpNet) -> Option<RoutingRemedy> {
    if finding.weight != Weight::Broken {
        return None;
    }
    let how = match finding.rule {
        Rule::CommunityMissing => "with community 8075:8007",
        Rule::NotReceived => "on this session, with community 8075:8007",
        Rule::Prepended => "without prepends, with community 8075:8007",
        Rule::PrivateRange
        | Rule::ProviderNotFound
        | Rule::KeyMismatch
        | Rule::Overlap
        | Rule::PrimaryRedundancy
        | Rule::BackupMissing
        | Rule::PathTooLong
        | Rule::PrivateAsn
        | Rule::Ipv6 => return None,
    };
    let remedy = Remedy {
        // A configuration needs to name the AS.
        announce: origin.map(|_| *prefix).into_iter().collect(),
        origin: origin.map(Asn),
        communities: vec![COMMUNITY],
        words: vec![format!("announce {prefix} {how}")],
    };
    Some(RoutingRemedy {
        bird: remedy.render(Router::Bird),
        frr: remedy.render(Router::Frr),
        words: remedy.words,
    })
}

fn routes_of(sessions: &Sessions, prefix: &IpNet) -> Vec<PrefixRoute> {
    let with = sessions
        .iter()
        .filter_map(|(address, session)| Some((address, session, session.routes.get(prefix)?)));
    with.map(|(address, session, route)| PrefixRoute {
        session: address.to_string(),
        asn: session.asn,
        as_path: path_of(&route.path),
        communities: route.communities.as_ref().map(|all| {
            all.iter()
                .map(|(high, low)| format!("{high}:{low}"))
                .collect()
        }),
        received_unix_ms: route.received_unix_ms,
    })
    .collect()
}

fn path_of(path: &[u32]) -> String {
    let words: Vec<String> = path.iter().map(ToString::to_string).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use firstmile_peering::routes::{Route, Session};

    use super::*;

    fn finding(rule: Rule, weight: Weight) -> Finding {
        Finding {
            rule,
            weight,
            session: Some(IpAddr::from([192, 0, 2, 1])),
            detail: String::new(),
        }
    }

    #[test]
    fn a_broken_rule_about_routes_comes_with_what_to_announce() {
        let prefix: IpNet = "198.51.100.0/24".parse().unwrap();
        let route = Route {
            path: vec![64_496, 64_500],
            communities: None,
            received_unix_ms: 0,
        };
        let with = Session {
            routes: [(prefix, route)].into(),
            ..Session::default()
        };
        let other = IpAddr::from([192, 0, 2, 3]);
        let sessions: Sessions = [(other, with)].into();
        let missing = finding(Rule::NotReceived, Weight::Broken);
        let remedy = finding_of(&missing, &sessions, &prefix).remedy.unwrap();
        assert!(remedy.words[0].contains("on this session"), "{remedy:?}");
        assert!(remedy.frr.contains("router bgp 64500"), "{remedy:?}");
        assert!(remedy.bird.contains("bgp_community.add((8075,8007))"));
        let nobody = finding_of(&missing, &Sessions::new(), &prefix);
        let remedy = nobody.remedy.unwrap();
        assert_eq!((remedy.bird.as_str(), remedy.frr.as_str()), ("", ""));
        for (rule, weight) in [
            (Rule::NotReceived, Weight::NotObservable),
            (Rule::Overlap, Weight::Broken),
        ] {
            let other = finding_of(&finding(rule, weight), &sessions, &prefix);
            assert_eq!(other.remedy, None, "{rule:?}");
        }
    }
}

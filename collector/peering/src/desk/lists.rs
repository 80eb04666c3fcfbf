//! Requests for everything else: lists, directories, actions.

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Method, Request, World, not_allowed, one, show};
use crate::answer::Answer;
use crate::directory;
use crate::id::{Kind, ResourceId};

/// Where a list is asked for.
pub(super) struct Place<'a> {
    pub(super) subscription: &'a str,
    pub(super) group: Option<&'a str>,
}

pub(super) fn answer(
    world: &World<'_>,
    request: &Request<'_>,
    place: &Place<'_>,
    rest: &[String],
) -> Answer {
    let lower: Vec<String> = rest.iter().map(|word| word.to_lowercase()).collect();
    let words: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (request.method, words.as_slice()) {
        (Method::Post, ["peerings", _, "registeredprefixes", _, "validate"]) => {
            validate_now(world, place, rest)
        }
        (Method::Post, ["checkserviceprovideravailability"]) => availability(world, request),
        (Method::Post, ["initializeconnectionmonitor"]) => Answer::empty(200),
        (Method::Post, ["lookingglass"]) => Answer::error(
            501,
            "NotSupported",
            "There is no looking glass in Microsoft's network here; the agents' own paths are at /api/v1/agents/ID/path.",
        ),
        (Method::Get, ["operations"]) => operations(),
        (Method::Get, ["peeringserviceproviders"]) => providers(world),
        (Method::Get, ["peeringservicelocations"]) => locations(request.parameter("country")),
        (Method::Get, ["peeringservicecountries"]) => countries(),
        (Method::Get, ["peeringlocations"]) => peering_locations(world, request),
        (Method::Get, ["legacypeerings" | "cdnpeeringprefixes"]) => Answer::list(Vec::new()),
        (Method::Get, ["peerings", _, "rpunbilledprefixes"]) => {
            within(world, place, rest, |_, _| Vec::new())
        }
        (Method::Get, ["peerings", _, "receivedroutes"]) => {
            within(world, place, rest, |world, id| received(world, request, id))
        }
        (Method::Get, words) => list(world, request, place, words, rest),
        (Method::Put | Method::Patch | Method::Delete | Method::Post, _) => not_allowed(request),
    }
}

/// A list of resources: of a subscription, a group, or within another resource.
fn list(
    world: &World<'_>,
    request: &Request<'_>,
    place: &Place<'_>,
    words: &[&str],
    rest: &[String],
) -> Answer {
    let segments: Vec<&str> = words.iter().copied().step_by(2).collect();
    let kind = Kind::of(&segments)
        .filter(|_| !words.len().is_multiple_of(2) && !place.subscription.is_empty());
    let Some(kind) = kind else {
        let path: String = request.path.chars().take(200).collect();
        return Answer::error(
            404,
            "InvalidResourceType",
            format!("{path} is nothing that can be listed"),
        );
    };
    let outer: Vec<&str> = rest.iter().skip(1).step_by(2).map(String::as_str).collect();
    if let Some(missing) = missing_outer(world, place, kind, &outer) {
        return Answer::not_found(&missing);
    }
    let here = |id: &ResourceId| {
        id.kind == kind
            && id.subscription.eq_ignore_ascii_case(place.subscription)
            && place
                .group
                .is_none_or(|group| id.group.eq_ignore_ascii_case(group))
            && id
                .names
                .iter()
                .zip(&outer)
                .all(|(own, wanted)| own.eq_ignore_ascii_case(wanted))
    };
    let with_events = one::wants_events(request);
    let found = world.resources.all().filter(|resource| here(&resource.id));
    Answer::list(found.map(|resource| show::resource(world, resource, with_events)))
}

fn missing_outer(
    world: &World<'_>,
    place: &Place<'_>,
    kind: Kind,
    outer: &[&str],
) -> Option<String> {
    let name = outer.first()?;
    let id = ResourceId {
        subscription: place.subscription.to_owned(),
        group: place.group?.to_owned(),
        kind,
        names: vec![(*name).to_owned()],
    };
    let id = id.outer();
    world.resources.one(&id).is_none().then(|| id.to_string())
}

fn id_of(place: &Place<'_>, kind: Kind, names: &[&String]) -> Option<ResourceId> {
    Some(ResourceId {
        subscription: Some(place.subscription)
            .filter(|name| !name.is_empty())?
            .to_owned(),
        group: place.group?.to_owned(),
        kind,
        names: names.iter().map(ToString::to_string).collect(),
    })
}

/// A list that hangs under a peering.
fn within(
    world: &World<'_>,
    place: &Place<'_>,
    rest: &[String],
    items: impl Fn(&World<'_>, &ResourceId) -> Vec<Value>,
) -> Answer {
    let id = rest
        .get(1)
        .and_then(|name| id_of(place, Kind::Peering, &[name]));
    match id.filter(|id| world.resources.one(id).is_some()) {
        Some(id) => Answer::list(items(world, &id)),
        None => Answer::not_found(&rest.join("/")),
    }
}

fn validate_now(world: &World<'_>, place: &Place<'_>, rest: &[String]) -> Answer {
    let names = rest.get(1).zip(rest.get(3));
    let id = names
        .and_then(|(peering, prefix)| id_of(place, Kind::RegisteredPrefix, &[peering, prefix]));
    let found = id.and_then(|id| world.resources.one(&id));
    found.map_or_else(
        || Answer::not_found(&rest.join("/")),
        |resource| Answer::found(show::resource(world, resource, false)),
    )
}

fn availability(world: &World<'_>, request: &Request<'_>) -> Answer {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Asked {
        peering_service_location: String,
        peering_service_provider: String,
    }
    let asked: Asked = match serde_json::from_slice(request.body) {
        Ok(asked) => asked,
        Err(error) => {
            return Answer::bad_request(
                "InvalidRequestContent",
                format!("The body cannot be read: {error}"),
            );
        }
    };
    let near = world.directory.is_near(
        &asked.peering_service_provider,
        &asked.peering_service_location,
    );
    Answer::found(json!(if near == Some(true) {
        "Available"
    } else {
        "Unavailable"
    }))
}

fn operations() -> Answer {
    let kinds = [
        "peeringServices",
        "peeringServices/prefixes",
        "peeringServices/connectionMonitorTests",
        "peerings",
        "peerings/registeredPrefixes",
        "peerings/registeredAsns",
        "peerAsns",
    ];
    let verbs = ["read", "write", "delete"];
    let all = kinds
        .iter()
        .flat_map(|kind| verbs.map(|verb| format!("Microsoft.Peering/{kind}/{verb}")));
    Answer::list(all.map(|name| json!({ "name": name, "isDataAction": false })))
}

fn providers(world: &World<'_>) -> Answer {
    let all = world.directory.providers().map(|provider| {
        json!({
            "name": provider.name,
            "type": "Microsoft.Peering/peeringServiceProviders",
            "properties": { "serviceProviderName": provider.name, "peeringLocations": provider.metros },
        })
    });
    Answer::list(all)
}

fn locations(country: Option<&str>) -> Answer {
    let all = directory::locations(country).into_iter().map(|location| {
        json!({
            "name": location.state,
            "type": "Microsoft.Peering/peeringServiceLocations",
            "properties": { "country": location.country, "state": location.state },
        })
    });
    Answer::list(all)
}

fn countries() -> Answer {
    let all = directory::countries()
        .map(|name| json!({ "name": name, "type": "Microsoft.Peering/peeringServiceCountries" }));
    Answer::list(all)
}

fn peering_locations(world: &World<'_>, request: &Request<'_>) -> Answer {
    let Some(kind) = request.parameter("kind") else {
        return Answer::bad_request("MissingParameter", "kind is required: Direct or Exchange.");
    };
    let all = world.directory.metros().into_iter().map(|metro| {
        json!({
            "name": metro,
            "type": "Microsoft.Peering/peeringLocations",
            "kind": kind,
            "properties": { "peeringLocation": metro },
        })
    });
    Answer::list(all)
}

/// Routes of registered prefixes that the sessions of a peering announce.
fn received(world: &World<'_>, request: &Request<'_>, id: &ResourceId) -> Vec<Value> {
    let found = world.resources.one(id);
    let Some(peering) = found.and_then(|found| found.properties.peering()) else {
        return Vec::new();
    };
    let links = peering.direct.iter().flat_map(|direct| &direct.connections);
    let sessions = links.filter_map(|link| link.bgp_session.as_ref());
    let addresses = sessions
        .flat_map(|session| [session.peer_v4, session.peer_v6])
        .flatten();
    let wanted: Option<IpNet> = request
        .parameter("prefix")
        .and_then(|text| text.parse().ok());
    let mut found = Vec::new();
    for address in addresses {
        let routes = world
            .sessions
            .get(&address)
            .into_iter()
            .flat_map(|session| &session.routes);
        for (prefix, route) in
            routes.filter(|(prefix, _)| wanted.is_none_or(|wanted| wanted == **prefix))
        {
            let path: Vec<String> = route.path.iter().map(ToString::to_string).collect();
            found.push(json!({
                "prefix": prefix.to_string(),
                "nextHop": address.to_string(),
                "asPath": path.join(" "),
                "originAsValidationState": "Unknown",
                "rpkiValidationState": "Unknown",
                "receivedTimestamp": timestamp(route.received_unix_ms),
            }));
        }
    }
    found
}

/// A moment as the interface writes it: RFC 3339 in UTC.
fn timestamp(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| String::new(), |at| at.to_string())
}

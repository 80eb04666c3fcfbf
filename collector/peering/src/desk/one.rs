//! Requests for one resource: look, make, change the tags, take away.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Method, RESOURCES_MAX, Request, World, not_allowed, show};
use crate::answer::{Answer, Change};
use crate::id::{Kind, ResourceId};
use crate::model::{Envelope, Properties, Resource};

/// A resource as a request brings it. What else it holds (id, name, type, read-only properties) is not taken.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(flatten)]
    envelope: Envelope,
    #[serde(default)]
    properties: Map<String, Value>,
}

pub(super) fn answer(world: &World<'_>, request: &Request<'_>, id: &ResourceId) -> Answer {
    match request.method {
        Method::Get => get(world, request, id),
        Method::Put => put(world, request, id),
        Method::Patch if matches!(id.kind, Kind::PeeringService | Kind::Peering) => {
            patch(world, request, id)
        }
        Method::Delete => delete(world, id),
        Method::Patch | Method::Post => not_allowed(request),
    }
}

fn get(world: &World<'_>, request: &Request<'_>, id: &ResourceId) -> Answer {
    let with_events = wants_events(request);
    world.resources.one(id).map_or_else(
        || Answer::not_found(&id.to_string()),
        |found| Answer::found(show::resource(world, found, with_events)),
    )
}

/// Whether `$expand` names the events.
pub(super) fn wants_events(request: &Request<'_>) -> bool {
    let expand = request.parameter("$expand").unwrap_or_default();
    expand
        .split(',')
        .any(|word| word.trim().eq_ignore_ascii_case("events"))
}

fn put(world: &World<'_>, request: &Request<'_>, id: &ResourceId) -> Answer {
    let outer = id.outer();
    if outer.kind != id.kind && world.resources.one(&outer).is_none() {
        return Answer::error(
            404,
            "ParentResourceNotFound",
            format!("'{id}' cannot be made: there is no '{outer}'. Make that first."),
        );
    }
    let before = world.resources.one(id);
    if before.is_none() && world.resources.len() >= RESOURCES_MAX {
        let message = format!(
            "There are {RESOURCES_MAX} resources already, which is the limit; take some away first."
        );
        return Answer::error(409, "QuotaExceeded", message);
    }
    let body: Body = match serde_json::from_slice(request.body) {
        Ok(body) => body,
        Err(error) => {
            return Answer::bad_request(
                "InvalidRequestContent",
                format!("The body cannot be read: {error}"),
            );
        }
    };
    let properties = match Properties::read(id.kind, Value::Object(body.properties)) {
        Ok(properties) => properties,
        Err(error) => {
            return Answer::bad_request(
                "InvalidProperties",
                format!("The properties of '{id}' cannot be used: {error}"),
            );
        }
    };
    let properties = match settled(world, id, before, properties, request) {
        Ok(properties) => properties,
        Err(answer) => return answer,
    };
    let resource = Resource {
        // The case of the first one stays, so that an id never changes.
        id: before.map_or_else(|| id.clone(), |before| before.id.clone()),
        envelope: body.envelope,
        properties,
    };
    made(world, before.is_some(), resource)
}

/// The answer of a change: the resource as it will be, judged with itself in place.
fn made(world: &World<'_>, existed: bool, resource: Resource) -> Answer {
    let mut resources = world.resources.clone();
    resources.put(resource.clone());
    let after = World {
        resources: &resources,
        ..*world
    };
    let mut answer = Answer::found(show::resource(&after, &resource, false));
    answer.status = if existed { 200 } else { 201 };
    let verb = if existed { "changed" } else { "made" };
    let audit = format!("{} {verb}", resource.id);
    answer.changing(vec![Change::Put(Box::new(resource))], audit)
}

/// Keeps what may not change, refuses what would change it, and makes keys.
fn settled(
    world: &World<'_>,
    id: &ResourceId,
    before: Option<&Resource>,
    wanted: Properties,
    request: &Request<'_>,
) -> Result<Properties, Answer> {
    let fixed = |what: &str| {
        let message = format!("{what} of '{id}' cannot be changed; delete it and make it anew.");
        Err(Answer::error(409, "PropertyChangeNotAllowed", message))
    };
    match (before.map(|before| &before.properties), wanted) {
        (Some(Properties::Service(before)), Properties::Service(wanted))
            if before.provider_primary_peering_location
                != wanted.provider_primary_peering_location
                || before.backup() != wanted.backup() =>
        {
            fixed("The primary and backup location")
        }
        (None, Properties::Service(wanted)) if wanted.peering_service_provider.is_none() => {
            Err(Answer::bad_request(
                "InvalidProperties",
                format!(
                    "'{id}' needs a peeringServiceProvider; peeringServiceProviders lists them."
                ),
            ))
        }
        (Some(Properties::Prefix(before)), Properties::Prefix(wanted))
            if before.prefix != wanted.prefix =>
        {
            fixed("The prefix")
        }
        (Some(Properties::RegisteredPrefix(before)), Properties::RegisteredPrefix(wanted)) => {
            if before.prefix == wanted.prefix {
                Ok(Properties::RegisteredPrefix(before.clone()))
            } else {
                fixed("The prefix")
            }
        }
        (Some(Properties::RegisteredAsn(before)), Properties::RegisteredAsn(wanted)) => {
            if before.asn == wanted.asn {
                Ok(Properties::RegisteredAsn(before.clone()))
            } else {
                fixed("The AS")
            }
        }
        (None, Properties::RegisteredPrefix(mut wanted)) => {
            unregistered(
                world,
                id,
                |properties| matches!(properties, Properties::RegisteredPrefix(other) if other.prefix == wanted.prefix),
            )?;
            wanted.peering_service_prefix_key = request.fresh_key;
            Ok(Properties::RegisteredPrefix(wanted))
        }
        (None, Properties::RegisteredAsn(mut wanted)) => {
            unregistered(
                world,
                id,
                |properties| matches!(properties, Properties::RegisteredAsn(other) if other.asn == wanted.asn),
            )?;
            wanted.peering_service_prefix_key = request.fresh_key;
            Ok(Properties::RegisteredAsn(wanted))
        }
        (_, wanted) => Ok(wanted),
    }
}

/// Refuses what a partner registered before, under any peering.
fn unregistered(
    world: &World<'_>,
    id: &ResourceId,
    same: impl Fn(&Properties) -> bool,
) -> Result<(), Answer> {
    let found = world.resources.all().find(|other| same(&other.properties));
    match found {
        None => Ok(()),
        Some(other) => {
            let message = format!(
                "'{id}' is registered already, as '{}'; it can be registered once.",
                other.id
            );
            Err(Answer::error(409, "AlreadyRegistered", message))
        }
    }
}

fn patch(world: &World<'_>, request: &Request<'_>, id: &ResourceId) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tags {
        tags: Option<Map<String, Value>>,
    }
    let Some(before) = world.resources.one(id) else {
        return Answer::not_found(&id.to_string());
    };
    let tags: Tags = match serde_json::from_slice(request.body) {
        Ok(tags) => tags,
        Err(error) => {
            let message = format!("Only tags can be changed like this: {error}");
            return Answer::bad_request("InvalidRequestContent", message);
        }
    };
    let mut resource = before.clone();
    resource.envelope.tags = tags.tags.or(resource.envelope.tags);
    made(world, true, resource)
}

fn delete(world: &World<'_>, id: &ResourceId) -> Answer {
    let Some(found) = world.resources.one(id) else {
        return Answer::empty(204);
    };
    let inner = world.resources.all().filter(|other| other.id.is_inside(id));
    let mut gone: Vec<Change> = inner
        .map(|other| Change::Delete(other.id.clone()))
        .collect();
    gone.push(Change::Delete(found.id.clone()));
    let audit = format!(
        "{} deleted, with {} resources in it",
        found.id,
        gone.len() - 1
    );
    Answer::empty(200).changing(gone, audit)
}

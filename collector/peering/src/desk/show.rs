//! Resources as they are shown: what is stored, and what is worked out from it.

use serde_json::{Map, Value, json};

use super::World;
use crate::id::{Kind, ResourceId};
use crate::model::{Peering, Properties, Resource, ServicePrefix};
use crate::validate::{self, Case};
use crate::verdict::Verdict;

/// A resource in its envelope. `with_events`: with the events of a prefix.
pub(super) fn resource(world: &World<'_>, resource: &Resource, with_events: bool) -> Value {
    let mut properties = match resource.properties.write() {
        Ok(Value::Object(properties)) => properties,
        Ok(_) | Err(_) => Map::new(),
    };
    properties.insert("provisioningState".to_owned(), json!("Succeeded"));
    match &resource.properties {
        Properties::Prefix(prefix) => {
            if let Some(verdict) = verdict_of(world, &resource.id, prefix) {
                properties.extend(judged(&verdict));
                properties.insert("learnedType".to_owned(), json!(verdict.learned));
            }
            if with_events {
                let events = world.events.get(&prefix.prefix);
                properties.insert(
                    "events".to_owned(),
                    json!(events.map_or(&[][..], Vec::as_slice)),
                );
            }
        }
        Properties::RegisteredPrefix(prefix) => {
            if let Some(peering) = peering_of(world, &resource.id) {
                let verdict = validate::judge_registered(prefix.prefix, peering, world.sessions);
                properties.extend(judged(&verdict));
            }
        }
        Properties::Test(_) => {
            let outcome = world.tests.get(&resource.id.key());
            let successful = outcome.is_some_and(|outcome| outcome.successful);
            let path = outcome.map_or(&[][..], |outcome| outcome.path.as_slice());
            properties.insert("isTestSuccessful".to_owned(), json!(successful));
            properties.insert("path".to_owned(), json!(path));
        }
        Properties::PeerAsn(_) => {
            properties.insert("validationState".to_owned(), json!("Approved"));
        }
        Properties::Service(_) | Properties::Peering(_) | Properties::RegisteredAsn(_) => {}
    }
    in_envelope(resource, properties)
}

fn in_envelope(resource: &Resource, properties: Map<String, Value>) -> Value {
    let mut body = match serde_json::to_value(&resource.envelope) {
        Ok(Value::Object(envelope)) => envelope,
        Ok(_) | Err(_) => Map::new(),
    };
    body.insert("id".to_owned(), json!(resource.id.to_string()));
    body.insert("name".to_owned(), json!(resource.id.name()));
    body.insert("type".to_owned(), json!(resource.id.kind.type_name()));
    if resource.id.kind == Kind::Peering && !body.contains_key("kind") {
        body.insert("kind".to_owned(), json!("Direct"));
    }
    body.insert("properties".to_owned(), Value::Object(properties));
    Value::Object(body)
}

/// What is so of a customer's prefix; `None` if its connection is gone.
pub fn verdict_of(world: &World<'_>, id: &ResourceId, prefix: &ServicePrefix) -> Option<Verdict> {
    let service = world.resources.one(&id.outer())?.properties.service()?;
    Some(validate::judge(&Case {
        id,
        prefix: prefix.prefix,
        key: prefix.peering_service_prefix_key.as_deref(),
        service,
        resources: world.resources,
        directory: world.directory,
        sessions: world.sessions,
    }))
}

fn peering_of<'a>(world: &World<'a>, id: &ResourceId) -> Option<&'a Peering> {
    world.resources.one(&id.outer())?.properties.peering()
}

fn judged(verdict: &Verdict) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert(
        "prefixValidationState".to_owned(),
        json!(verdict.state.as_str()),
    );
    map.insert("errorMessage".to_owned(), json!(verdict.message()));
    map
}

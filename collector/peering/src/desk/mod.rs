//! Answers requests of the REST interface of `Microsoft.Peering`, api-version 2025-05-01 and the older ones that scripts send.

mod lists;
mod one;
mod show;
#[cfg(test)]
mod tests;

pub use show::verdict_of;

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::Resources;
use crate::answer::Answer;
use crate::directory::Directory;
use crate::id::Path;
use crate::routes::Sessions;

/// Versions of the interface that are taken; all get the answers of the newest.
pub const API_VERSIONS: [&str; 11] = [
    "2019-08-01-preview",
    "2019-09-01-preview",
    "2020-01-01-preview",
    "2020-04-01",
    "2020-10-01",
    "2021-01-01",
    "2021-06-01",
    "2022-01-01",
    "2022-06-01",
    "2022-10-01",
    "2025-05-01",
];

/// Most resources that an organisation may register.
pub const RESOURCES_MAX: usize = 50_000;

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Look.
    Get,
    /// Make or replace.
    Put,
    /// Change the tags.
    Patch,
    /// Take away.
    Delete,
    /// Act.
    Post,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: Method,
    /// Its path, decoded.
    pub path: &'a str,
    /// Its parameters, decoded; names are compared without their case.
    pub query: &'a [(String, String)],
    /// Its body.
    pub body: &'a [u8],
    /// A random key, for a registration that makes one.
    pub fresh_key: Uuid,
}

impl Request<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self
            .query
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// An event of a prefix, as published: all texts.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrefixEvent {
    /// When, RFC 3339 in UTC.
    pub event_timestamp: String,
    /// What, such as `PrefixOriginAsChangeEvent`.
    pub event_type: String,
    /// One sentence.
    pub event_summary: String,
    /// `Information`, `Warning`, `Error`, `Critical`.
    pub event_level: String,
    /// The evidence.
    pub event_description: String,
}

/// What an agent found of a connection monitor test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestOutcome {
    /// Whether the newest probe was answered.
    pub successful: bool,
    /// The path, hop by hop.
    pub path: Vec<String>,
}

/// What the desk knows.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// All that is registered.
    pub resources: &'a Resources,
    /// The partners.
    pub directory: &'a Directory,
    /// What feeds show.
    pub sessions: &'a Sessions,
    /// Events, newest first, by prefix.
    pub events: &'a BTreeMap<ipnet::IpNet, Vec<PrefixEvent>>,
    /// Outcomes of tests, by the key of the test's id.
    pub tests: &'a BTreeMap<String, TestOutcome>,
}

/// Answers one request. Nothing is changed: the answer says what to write.
pub fn answer(world: &World<'_>, request: &Request<'_>) -> Answer {
    match request.parameter("api-version") {
        None => {
            return Answer::bad_request(
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            );
        }
        Some(version) if !API_VERSIONS.contains(&version) => {
            let all = API_VERSIONS.join(", ");
            let version: String = version.chars().take(40).collect();
            return Answer::bad_request(
                "InvalidApiVersionParameter",
                format!(
                    "The api-version '{version}' is invalid. The supported versions are '{all}'."
                ),
            );
        }
        Some(_) => {}
    }
    match Path::parse(request.path) {
        Ok(Path::One(id)) => one::answer(world, request, &id),
        Ok(Path::Within {
            subscription,
            group,
            rest,
        }) => {
            let place = lists::Place {
                subscription: &subscription,
                group: group.as_deref(),
            };
            lists::answer(world, request, &place, &rest)
        }
        Err(why) => {
            let path: String = request.path.chars().take(200).collect();
            Answer::error(
                404,
                "InvalidResourceType",
                format!("{path} cannot be used: {why}"),
            )
        }
    }
}

/// A method that a path does not take.
fn not_allowed(request: &Request<'_>) -> Answer {
    let method = format!("{:?}", request.method).to_uppercase();
    let path: String = request.path.chars().take(200).collect();
    Answer::error(
        405,
        "MethodNotAllowed",
        format!("{path} does not take {method}"),
    )
}

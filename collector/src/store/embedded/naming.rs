//! The groups that samples go under, by the dimensions of a question.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use firstmile_wire::ids::OrganisationId;
use firstmile_wire::v1::{Phase, Protocol};
use ipnet::IpNet;
use rusqlite::Transaction;

use super::paths;
use super::vantage::Place;
use crate::api::types::GeographyLevel;
use crate::detect::PathBrief;
use crate::store::questions::{Dimension, Key, Question};
use crate::store::{ByAgent, StoreResult, UNKNOWN_GEOGRAPHY};

/// What a sample is of, beside its agent.
pub(super) struct Subject<'a> {
    pub(super) target: &'a str,
    pub(super) destination: Option<IpAddr>,
    /// Wire numbers of what it counts for.
    pub(super) protocol: i32,
    pub(super) phase: i32,
}

/// Names groups.
pub(super) struct Naming<'a> {
    question: &'a Question,
    paths: ByAgent<(String, PathBrief)>,
    unknown: Arc<str>,
    /// Every word once.
    words: HashMap<String, Arc<str>>,
}

impl<'a> Naming<'a> {
    /// Reads what the dimensions of a question need.
    pub(super) fn load(
        tx: &Transaction<'_>,
        organisation: &OrganisationId,
        question: &'a Question,
    ) -> StoreResult<Self> {
        let of_paths = [Dimension::Provider, Dimension::Edge, Dimension::Ingress];
        let paths = if question.by.iter().any(|one| of_paths.contains(one)) {
            paths::briefs(tx, organisation, &question.scope)?
        } else {
            ByAgent::new()
        };
        Ok(Self {
            question,
            paths,
            unknown: UNKNOWN_GEOGRAPHY.into(),
            words: HashMap::new(),
        })
    }

    /// The group of a sample.
    pub(super) fn key(&mut self, place: &Place, subject: &Subject<'_>) -> Key {
        let by = &self.question.by;
        let values = by.iter().map(|one| self.value(*one, place, subject));
        values
            .collect::<Vec<Option<Value>>>()
            .into_iter()
            .map(|value| match value {
                None => Arc::clone(&self.unknown),
                Some(Value::Shared(text)) => text,
                Some(Value::Text(text)) => self.word(text),
            })
            .collect()
    }

    /// The group of a geography, of a question that rollups can answer.
    pub(super) fn of_geography(&self, geography: &Arc<str>, protocol: i32, phase: i32) -> Key {
        let by = self.question.by.iter();
        by.map(|one| match one {
            Dimension::Geography(_) => Arc::clone(geography),
            Dimension::Protocol => protocol_word(protocol).into(),
            Dimension::Phase => phase_word(phase).into(),
            Dimension::Agent
            | Dimension::Target
            | Dimension::Destination
            | Dimension::Prefix
            | Dimension::Provider
            | Dimension::Edge
            | Dimension::Ingress => Arc::clone(&self.unknown),
        })
        .collect()
    }

    fn value(&self, one: Dimension, place: &Place, subject: &Subject<'_>) -> Option<Value> {
        let text = match one {
            Dimension::Geography(level) => {
                return Some(Value::Shared(Arc::clone(place.keys.at(Some(level)))));
            }
            Dimension::Agent => place.agent.to_string(),
            Dimension::Target => subject.target.to_owned(),
            Dimension::Protocol => protocol_word(subject.protocol),
            Dimension::Phase => phase_word(subject.phase),
            Dimension::Destination => subject.destination?.to_string(),
            Dimension::Prefix => self.prefix(subject.destination?)?.to_string(),
            Dimension::Provider => format!("AS{}", self.path(place, subject)?.provider_asn?),
            Dimension::Edge => {
                let latest = self.path(place, subject)?.latest.as_ref()?;
                joined(&latest.edge_metros)?
            }
            Dimension::Ingress => {
                let latest = self.path(place, subject)?.latest.as_ref()?;
                joined(&latest.ingress_metros)?
            }
        };
        Some(Value::Text(text))
    }

    fn prefix(&self, address: IpAddr) -> Option<IpNet> {
        let known = self.question.prefixes.as_ref();
        let known = known.and_then(|prefixes| prefixes.prefix(address));
        let length = if address.is_ipv4() { 24 } else { 48 };
        known.or_else(|| {
            IpNet::new(address, length)
                .ok()
                .map(|prefix| prefix.trunc())
        })
    }

    fn path(&self, place: &Place, subject: &Subject<'_>) -> Option<&PathBrief> {
        let of_agent = self.paths.get(&place.agent)?;
        let found = of_agent.iter().find(|(target, _)| target == subject.target);
        found.map(|(_, brief)| brief)
    }

    fn word(&mut self, text: String) -> Arc<str> {
        let known = self.words.entry(text);
        Arc::clone(known.or_insert_with_key(|text| text.as_str().into()))
    }
}

enum Value {
    Shared(Arc<str>),
    Text(String),
}

fn joined(metros: &[String]) -> Option<String> {
    (!metros.is_empty()).then(|| metros.join("+"))
}

/// `tcp` of its wire number.
fn protocol_word(protocol: i32) -> String {
    let name = Protocol::try_from(protocol).unwrap_or_default();
    lower(name.as_str_name(), "PROTOCOL_")
}

/// `rtt` of its wire number.
fn phase_word(phase: i32) -> String {
    let name = Phase::try_from(phase).unwrap_or_default();
    lower(name.as_str_name(), "PHASE_")
}

fn lower(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_ascii_lowercase()
}

/// Whether rollups know what a question is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RolledUp {
    /// They do not.
    No,
    /// By no geography.
    World,
    /// By one.
    By(GeographyLevel),
}

/// Whether rollups know what a question is grouped by.
pub(super) fn rolled_up(question: &Question) -> RolledUp {
    let mut found = RolledUp::World;
    for one in &question.by {
        match one {
            Dimension::Geography(level) if found == RolledUp::World => {
                found = RolledUp::By(*level);
            }
            Dimension::Protocol | Dimension::Phase => {}
            Dimension::Geography(_)
            | Dimension::Agent
            | Dimension::Target
            | Dimension::Destination
            | Dimension::Prefix
            | Dimension::Provider
            | Dimension::Edge
            | Dimension::Ingress => return RolledUp::No,
        }
    }
    found
}

//! What of a report is kept as facts of its machine, and what in them is news. Pure.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::facts::{self, Fact, FactKind};
use crate::api::types::{Handshake, MachineChange};

/// The facts of a report, given the newest handshakes that were known before it, by key.
pub(super) fn facts(batch: &Batch, known: &BTreeMap<String, Handshake>) -> Vec<Fact> {
    let mut found = Vec::new();
    if let Some(host) = &batch.facts.host {
        let at = host.at_unix_ms;
        found.extend(Fact::new(FactKind::Host, String::new(), at, host));
    }
    let counters = facts::counters(&batch.counters);
    let at = batch.received_unix_ms;
    found.extend(Fact::new(FactKind::Counters, String::new(), at, &counters));
    for change in &batch.facts.changes {
        found.extend(change_fact(change));
    }
    let mut newest = known.clone();
    for handshake in &batch.facts.handshakes {
        let key = handshake_key(handshake);
        let at = handshake.at_unix_ms;
        found.extend(Fact::new(FactKind::Handshake, key.clone(), at, handshake));
        let before = newest.insert(key, handshake.clone());
        let news = before.and_then(|before| other_issuer(&before, handshake));
        found.extend(news.as_ref().and_then(change_fact));
    }
    newest_of_each(found)
}

/// One of a kind and key stays, the newest; of two of one time, the later in the report.
fn newest_of_each(facts: Vec<Fact>) -> Vec<Fact> {
    let mut newest: BTreeMap<(FactKind, String), Fact> = BTreeMap::new();
    for fact in facts {
        let key = (fact.kind, fact.key.clone());
        let is_older = newest
            .get(&key)
            .is_some_and(|kept| kept.at_unix_ms > fact.at_unix_ms);
        if !is_older {
            newest.insert(key, fact);
        }
    }
    newest.into_values().collect()
}

/// The two families may end at two edges, each with a key of its own.
fn handshake_key(handshake: &Handshake) -> String {
    let family = match &handshake.destination {
        Some(address) if address.contains(':') => "6",
        Some(_) | None => "4",
    };
    format!("{}\t{}\t{family}", handshake.target, handshake.protocol)
}

/// Certificates are renewed every few weeks, by the same issuer. Another one, or a chain that no longer verifies, is what
/// interception and hijack look like: it is worth a line, whatever it turns out to be.
fn other_issuer(before: &Handshake, now: &Handshake) -> Option<MachineChange> {
    let is_other = before.issuer != now.issuer || before.problem != now.problem;
    if !is_other || before.at_unix_ms >= now.at_unix_ms {
        return None;
    }
    let told = |handshake: &Handshake| match &handshake.problem {
        Some(problem) => format!("{:?} ({problem})", handshake.issuer),
        None => format!("{:?}", handshake.issuer),
    };
    Some(MachineChange {
        at_unix_ms: now.at_unix_ms,
        until_unix_ms: None,
        kind: "issuer".to_owned(),
        detail: format!(
            "The certificate of {} over {} is issued by {}, before by {}.",
            now.target,
            now.protocol,
            told(now),
            told(before)
        ),
    })
}

fn change_fact(change: &MachineChange) -> Option<Fact> {
    let key = format!(
        "{:020}\t{}\t{}",
        change.at_unix_ms, change.kind, change.detail
    );
    Fact::new(FactKind::Change, key, change.at_unix_ms, change)
}

//! Asks each resolver for each target.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;

use super::NAMES;
use crate::config::{AgentConfig, Host};
use crate::doctor::facts::{Question, Reply, Resolver};
use crate::net::dns::{Answer, Dns, Failure, system_servers};
use crate::net::route;
use crate::probe::Outcome;

/// Resolvers that are looked at: the system's own list has three at most.
const MAX_RESOLVERS: usize = 8;

pub(super) async fn ask(config: &AgentConfig, patience: Duration) -> Vec<Resolver> {
    let servers = if config.resolvers.is_empty() {
        system_servers()
    } else {
        config.resolvers.clone()
    };
    let hosts: BTreeSet<&str> = config
        .targets
        .iter()
        .filter_map(|target| match &target.host {
            Host::Name(name) => Some(name.as_str()),
            Host::Address(_) => None,
        })
        .collect();
    let asking = servers
        .into_iter()
        .take(MAX_RESOLVERS)
        .map(|server| resolver(server, &hosts, patience));
    join_all(asking).await
}

async fn resolver(server: SocketAddr, hosts: &BTreeSet<&str>, patience: Duration) -> Resolver {
    let dns = Dns::new(vec![server], patience);
    let questions = join_all(hosts.iter().map(|host| question(&dns, host))).await;
    let is_silent = !questions.is_empty()
        && questions
            .iter()
            .all(|question| question.v4.outcome == Outcome::Timeout);
    let known = questions
        .iter()
        .flat_map(|question| &question.v4.addresses)
        .next()
        .copied();
    let answers_ptr = if is_silent {
        None
    } else {
        Some(answers_ptr(&dns, known.unwrap_or(server.ip()), patience).await)
    };
    Resolver {
        server: server.to_string(),
        has_route: route::source_for(server.ip()).is_ok(),
        questions,
        answers_ptr,
    }
}

async fn question(dns: &Dns, host: &str) -> Question {
    let both = async { tokio::join!(dns.resolve(host, false), dns.resolve(host, true)) };
    match tokio::time::timeout(NAMES, both).await {
        Ok((v4, v6)) => Question {
            host: host.to_owned(),
            v4: reply(v4),
            v6: reply(v6),
        },
        Err(_) => Question {
            host: host.to_owned(),
            v4: silence(),
            v6: silence(),
        },
    }
}

fn reply(answer: Answer) -> Reply {
    Reply {
        outcome: answer.outcome,
        addresses: answer.addresses,
        problem: answer.problem,
    }
}

fn silence() -> Reply {
    Reply {
        outcome: Outcome::Timeout,
        addresses: Vec::new(),
        problem: "no answer in time".to_owned(),
    }
}

/// An answer that there is no name is an answer.
async fn answers_ptr(dns: &Dns, address: IpAddr, patience: Duration) -> bool {
    match tokio::time::timeout(patience, dns.reverse(address)).await {
        Ok(Ok(_)) => true,
        Ok(Err(Failure::Timeout | Failure::NoSuchName | Failure::Code(_) | Failure::Other(_)))
        | Err(_) => false,
    }
}

//! Whether the resolvers answer, everything and quickly.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Finding;
use crate::doctor::facts::{Destination, Question, Resolver};
use crate::probe::Outcome;

/// Slower than this a resolver is felt: every first connection waits for it.
const SLOW: Duration = Duration::from_millis(150);

const CHANGE: &str = "name a resolver that answers in /etc/resolv.conf, or for the agent alone: resolvers = [\"<address>\"] in its configuration";

/// One finding or more for each resolver.
pub(super) fn resolvers(resolvers: &[Resolver]) -> Vec<Finding> {
    if resolvers.is_empty() {
        return vec![
            Finding::problem(
                "resolver",
                "no resolver is configured: names cannot be resolved",
            )
            .change(CHANGE),
        ];
    }
    resolvers.iter().flat_map(resolver).collect()
}

fn resolver(resolver: &Resolver) -> Vec<Finding> {
    let asked = resolver.questions.len();
    if asked == 0 {
        return vec![
            Finding::ok("resolver", "not asked: every target is an address")
                .about(&resolver.server),
        ];
    }
    let answered = |question: &&Question| question.v4.outcome.rtt().is_some();
    let mut rtts: Vec<Duration> = resolver
        .questions
        .iter()
        .filter_map(|question| question.v4.outcome.rtt())
        .collect();
    rtts.sort_unstable();
    let heard = resolver
        .questions
        .iter()
        .any(|question| question.v4.outcome != Outcome::Timeout);
    let Some(median) = rtts.get(rtts.len() / 2) else {
        let says = if !resolver.has_route {
            "there is no route to it: this machine is not connected to its network".to_owned()
        } else if heard {
            let why = first_problem(&resolver.questions);
            format!("it resolves none of {asked} names: {why}")
        } else {
            format!("it does not answer (names asked: {asked})")
        };
        return vec![
            Finding::problem("resolver", says)
                .about(&resolver.server)
                .change(CHANGE),
        ];
    };
    let good = resolver.questions.iter().filter(answered).count();
    let mut findings = Vec::new();
    let summary = format!(
        "it resolves {good} of {asked} names, median {} ms",
        median.as_millis()
    );
    findings.push(if *median > SLOW {
        Finding::warning(
            "resolver",
            format!("{summary}: that is slow, and every first connection waits for it"),
        )
        .change("use a resolver nearer to this site")
    } else if good < asked {
        let why = first_problem(&resolver.questions);
        Finding::warning("resolver", format!("{summary}; {why}"))
            .change("see the findings of the names below")
    } else {
        Finding::ok("resolver", summary)
    });
    findings.extend(silences(resolver));
    findings
        .into_iter()
        .map(|finding| finding.about(&resolver.server))
        .collect()
}

/// Kinds of questions that a resolver which answers others leaves open.
fn silences(resolver: &Resolver) -> Vec<Finding> {
    let mut findings = Vec::new();
    let answers_v4 = |question: &&Question| question.v4.outcome.rtt().is_some();
    let no_aaaa = resolver
        .questions
        .iter()
        .filter(answers_v4)
        .filter(|question| question.v6.outcome.rtt().is_none())
        .count();
    if no_aaaa > 0 {
        findings.push(
            Finding::warning(
                "resolver",
                format!("it answers A questions and leaves AAAA questions for the same names open ({no_aaaa}): programs wait for IPv6 in vain"),
            )
            .change("let the resolver, or the firewall before it, answer AAAA questions"),
        );
    }
    if resolver.answers_ptr == Some(false) {
        findings.push(
            Finding::warning(
                "resolver",
                "it does not answer PTR questions: routers have no names, and the ingress of Microsoft's network cannot be told",
            )
            .change("let the resolver answer PTR questions for public addresses"),
        );
    }
    findings
}

fn first_problem(questions: &[Question]) -> String {
    questions
        .iter()
        .find(|question| !question.v4.problem.is_empty())
        .map_or_else(String::new, |question| {
            format!("{}: {}", question.host, question.v4.problem)
        })
}

/// Targets whose name no resolver knows.
pub(super) fn targets(resolvers: &[Resolver], targets: &[Destination]) -> Vec<Finding> {
    let reached: BTreeSet<&str> = resolvers
        .iter()
        .filter(|resolver| {
            let mut questions = resolver.questions.iter();
            questions.any(|question| question.v4.outcome.rtt().is_some())
        })
        .map(|resolver| resolver.server.as_str())
        .collect();
    if reached.is_empty() {
        return Vec::new(); // the resolvers' own findings say it
    }
    let unresolved = targets.iter().filter(|target| target.address.is_none());
    unresolved
        .map(|target| {
            let why = resolvers
                .iter()
                .flat_map(|resolver| &resolver.questions)
                .filter(|question| question.host == target.host)
                .map(|question| question.v4.problem.as_str())
                .find(|problem| !problem.is_empty())
                .unwrap_or("it has no address");
            Finding::problem(
                "name",
                format!("{} has no address here: {why}", target.host),
            )
            .about(&target.name)
            .change("check the spelling of host, and whether this resolver filters the name")
        })
        .collect()
}

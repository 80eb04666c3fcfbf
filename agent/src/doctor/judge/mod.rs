//! What the facts mean: one finding for each, with the command that mends it.
//!
//! Pure: facts in, findings out, no clock and no socket.

mod collector;
mod machine;
mod names;
mod reach;
mod rights;
#[cfg(test)]
mod tests;
mod windows;

use serde::Serialize;

use super::facts::Facts;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    /// The agent works, with something missing or doubtful.
    Warning,
    /// Something that was asked for does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Which check: a stable word.
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// The resolver, target or variable that it is about.
    pub(super) about: Option<String>,
    /// One sentence.
    pub(super) says: String,
    /// What to change, the exact command where there is one.
    pub(super) change: Option<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, says: impl Into<String>) -> Self {
        Self {
            check,
            level,
            about: None,
            says: says.into(),
            change: None,
        }
    }

    fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, says)
    }

    fn warning(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(check, Level::Warning, says)
    }

    fn problem(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(check, Level::Problem, says)
    }

    fn about(mut self, about: impl Into<String>) -> Self {
        self.about = Some(about.into());
        self
    }

    fn change(mut self, change: impl Into<String>) -> Self {
        self.change = Some(change.into());
        self
    }
}

/// Judges everything, in the order in which a person would look.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = [
        rights::rights(&facts.rights, &facts.setcap),
        rights::paths(&facts.rights, facts.flows, &facts.setcap),
        names::resolvers(&facts.resolvers),
        names::targets(&facts.resolvers, &facts.targets),
        reach::proxies(&facts.proxies),
        collector::clock(&facts.clock),
        machine::machine(&facts.machine),
        reach::targets(&facts.targets),
        reach::paths(&facts.targets),
        reach::tls(&facts.targets),
        reach::portal(facts.portal.as_ref()),
        collector::collector(&facts.collector, facts.clock.unix_ms),
        collector::state(&facts.state),
    ]
    .concat();
    if facts.rights.windows.is_some() {
        for advice in findings.iter_mut().filter_map(|it| it.change.as_mut()) {
            *advice = windows::in_its_words(advice);
        }
    }
    findings
}

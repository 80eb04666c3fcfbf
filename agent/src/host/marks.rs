//! What the machine's place in the network means for a sample: the marks that keep it out of a site's figures.

use firstmile_wire::v1::{Mark, Protocol};

use crate::config::{ProxyRules, Target};
use crate::probe::{Marks, Sample};

/// What is known of the machine, asked for each sample.
#[derive(Debug, Default)]
pub(crate) struct HostMarks {
    /// For each target whether users take a proxy to it.
    proxied: Vec<bool>,
}

impl HostMarks {
    /// Marks for samples of these targets.
    pub(crate) fn new(targets: &[Target], proxies: &ProxyRules) -> Self {
        let takes_proxy = |target: &Target| proxies.for_users(&target.host.to_string()).is_some();
        Self {
            proxied: targets.iter().map(takes_proxy).collect(),
        }
    }

    /// The marks of a sample, those that it has included. Questions of DNS take no proxy: users' ask the same resolver.
    pub(crate) fn of(&self, sample: &Sample) -> Marks {
        let mut marks = sample.marks;
        if sample.protocol == Protocol::Dns {
            return marks;
        }
        if self.proxied.get(sample.target) == Some(&true) {
            marks = marks.with(Mark::NotUsersPath);
        }
        marks
    }
}

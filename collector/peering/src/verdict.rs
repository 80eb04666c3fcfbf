//! What is said of a prefix: findings by rule, and the state that follows from them.

use std::net::IpAddr;

/// States of a prefix, by their published names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Every rule is kept, and each was seen to be.
    Verified,
    /// Kept, with a remark.
    Warning,
    /// Nothing was found against it, and not every rule could be looked at.
    Unknown,
    /// A rule is broken.
    Failed,
    /// It can never be valid.
    Invalid,
}

impl State {
    /// The published name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::Warning => "Warning",
            Self::Unknown => "Unknown",
            Self::Failed => "Failed",
            Self::Invalid => "Invalid",
        }
    }
}

/// Which rule a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Space that no routing table of the internet may hold.
    PrivateRange,
    /// The partner is in the directory.
    ProviderNotFound,
    /// The key is that of the partner's registration.
    KeyMismatch,
    /// No other registered prefix overlaps.
    Overlap,
    /// Two sessions on two routers at the primary location.
    PrimaryRedundancy,
    /// A session at the backup location.
    BackupMissing,
    /// Announced on the session.
    NotReceived,
    /// Carries the community.
    CommunityMissing,
    /// Over at most three ASes.
    PathTooLong,
    /// No private AS in the path.
    PrivateAsn,
    /// No AS twice in a row.
    Prepended,
    /// IPv6, of which the rules say nothing.
    Ipv6,
}

impl Rule {
    /// The code that messages begin with.
    pub const fn code(self) -> &'static str {
        match self {
            Self::PrivateRange => "private_range",
            Self::ProviderNotFound => "provider_not_found",
            Self::KeyMismatch => "key_mismatch",
            Self::Overlap => "overlap",
            Self::PrimaryRedundancy => "primary_redundancy",
            Self::BackupMissing => "backup_missing",
            Self::NotReceived => "not_received",
            Self::CommunityMissing => "community_missing",
            Self::PathTooLong => "path_too_long",
            Self::PrivateAsn => "private_asn",
            Self::Prepended => "path_prepended",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// How much a finding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A remark.
    Note,
    /// The rule could not be looked at.
    NotObservable,
    /// The rule is broken.
    Broken,
    /// It can never be kept.
    Hopeless,
}

/// What was found of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What it means.
    pub weight: Weight,
    /// On which session, if on one.
    pub session: Option<IpAddr>,
    /// What is so, and what to do.
    pub detail: String,
}

impl Finding {
    pub(crate) fn new(rule: Rule, weight: Weight, detail: impl Into<String>) -> Self {
        Self {
            rule,
            weight,
            session: None,
            detail: detail.into(),
        }
    }

    /// `community_missing(192.0.2.1): …`.
    pub fn message(&self) -> String {
        let code = self.rule.code();
        let session = self.session.map(|session| format!("({session})"));
        let unseen = if self.weight == Weight::NotObservable {
            " not observable"
        } else {
            ""
        };
        format!(
            "{code}{}{unseen}: {}",
            session.unwrap_or_default(),
            self.detail
        )
    }
}

/// What is so of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The worst of it.
    pub state: State,
    /// `ViaSession`: from the partner's own AS on a session; `ViaServiceProvider`: through it; `None`: not seen.
    pub learned: &'static str,
    /// Each finding, the worst first.
    pub findings: Vec<Finding>,
}

impl Verdict {
    pub(crate) fn of(mut findings: Vec<Finding>, learned: &'static str) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
        let state = match findings.first().map(|finding| finding.weight) {
            None => State::Verified,
            Some(Weight::Note) => State::Warning,
            Some(Weight::NotObservable) => State::Unknown,
            Some(Weight::Broken) => State::Failed,
            Some(Weight::Hopeless) => State::Invalid,
        };
        Self {
            state,
            learned,
            findings,
        }
    }

    /// All findings on one line, empty if there are none.
    pub fn message(&self) -> String {
        let all: Vec<String> = self.findings.iter().map(Finding::message).collect();
        all.join("; ")
    }
}

//! RULES.json: another way to say what the registry holds.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::allow::{Allowance, AllowanceError, AllowanceFile, Mute};
use crate::asn::Asn;
use crate::class::Family;
use crate::detector::{Detector, Options};
use crate::examine::Registry;
use crate::relation::{Relation, Relations};
use crate::rule::{OwnAs, Rule, RuleError, RuleFile, Rules};
use crate::vrp::{VrpFile, Vrps};

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It is no JSON, or a key is unknown, missing or of the wrong kind.
    #[error("the rules cannot be read")]
    Json(#[from] serde_json::Error),
    /// A rule makes no sense.
    #[error("rule {index} (from 0) cannot be used")]
    Rule {
        /// Its place in the list, from 0.
        index: usize,
        /// Why.
        source: RuleError,
    },
    /// An allowance makes no sense.
    #[error("allowance {index} (from 0) cannot be used")]
    Allowance {
        /// Its place in the list, from 0.
        index: usize,
        /// Why.
        source: AllowanceError,
    },
    /// A key of `min_peers` is no class.
    #[error("{0:?} in `min_peers` is no class of verdicts")]
    Class(String),
    /// A number is out of its range.
    #[error("`{key}` is {value}: use {range}")]
    Range {
        /// Of which key.
        key: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// A payload allows lengths that its prefix does not have.
    #[error("the VRP for {prefix} allows up to /{max_length}: use {from} to {to}")]
    MaxLength {
        /// Its prefix.
        prefix: ipnet::IpNet,
        /// What it allows.
        max_length: u8,
        /// Shortest it may allow.
        from: u8,
        /// Longest it may allow.
        to: u8,
    },
}

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesFile {
    rules: Option<Vec<RuleFile>>,
    asns: Option<Vec<OwnAs>>,
    vrps: Option<Vec<VrpFile>>,
    vrps_after: Option<Vec<VrpFile>>,
    relations: Option<Vec<RelationFile>>,
    min_peers: Option<BTreeMap<String, usize>>,
    end_pct: Option<f64>,
    window_s: Option<f64>,
    rov_clears_origin: Option<bool>,
    allowances: Option<Vec<AllowanceFile>>,
    mute: Option<Vec<String>>,
    expiry_warn_s: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RelationFile {
    a: Asn,
    b: Asn,
    rel: Relation,
}

impl RulesFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`RulesError::Json`] if it is no JSON, or a key is unknown.
    pub fn read(text: &str) -> Result<Self, RulesError> {
        Ok(serde_json::from_str(text)?)
    }

    /// A detector by these rules, and what RPKI says after the last update.
    ///
    /// # Errors
    /// [`RulesError`] if a value makes no sense.
    pub fn build(self) -> Result<(Detector, Option<Vrps>), RulesError> {
        let options = self.options()?;
        let (before, after) = (vrps(self.vrps)?, vrps(self.vrps_after)?);
        let usable = |(index, file): (usize, RuleFile)| {
            Rule::try_from(file).map_err(|source| RulesError::Rule { index, source })
        };
        let rules = self.rules.unwrap_or_default().into_iter().enumerate();
        let rules: Vec<Rule> = rules.map(usable).collect::<Result<_, _>>()?;
        let mut relations = Relations::default();
        for one in self.relations.unwrap_or_default() {
            relations.add(one.a, one.rel, one.b);
        }
        let mut registry =
            Registry::new(Rules::new(rules), self.asns.unwrap_or_default(), relations);
        registry.rov_clears_origin = self.rov_clears_origin.unwrap_or_default();
        let usable = |(index, file): (usize, AllowanceFile)| {
            Allowance::try_from(file).map_err(|source| RulesError::Allowance { index, source })
        };
        let allowances = self.allowances.unwrap_or_default().into_iter().enumerate();
        registry.allowances = allowances.map(usable).collect::<Result<_, _>>()?;
        registry.mute = Mute::new(self.mute.unwrap_or_default());
        Ok((Detector::new(registry, options, before), after))
    }

    fn options(&self) -> Result<Options, RulesError> {
        let mut options = Options::default();
        // A family first, then its members: the narrower word counts.
        let mut entries: Vec<_> = self.min_peers.iter().flatten().collect();
        entries.sort_by_key(|(name, _)| (*name != "*", name.matches('.').count()));
        for (name, peers) in entries {
            let family = Family::parse(name).ok_or_else(|| RulesError::Class(name.clone()))?;
            for class in family.classes() {
                options.min_peers.insert(*class, (*peers).max(1));
            }
        }
        if let Some(value) = self.end_pct {
            if !(0.0..=100.0).contains(&value) {
                return Err(RulesError::Range {
                    key: "end_pct",
                    value,
                    range: "0 to 100",
                });
            }
            options.end_pct = value;
        }
        if let Some(value) = self.window_s {
            if value < 0.0 {
                return Err(RulesError::Range {
                    key: "window_s",
                    value,
                    range: "0 or more",
                });
            }
            options.window_s = Some(value);
        }
        if let Some(value) = self.expiry_warn_s {
            if value < 0.0 {
                return Err(RulesError::Range {
                    key: "expiry_warn_s",
                    value,
                    range: "0 or more",
                });
            }
            options.expiry_warn_s = value;
        }
        Ok(options)
    }
}

fn vrps(files: Option<Vec<VrpFile>>) -> Result<Option<Vrps>, RulesError> {
    let Some(files) = files else {
        return Ok(None);
    };
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        let expires = file.expires;
        let vrp = crate::vrp::Vrp::from(file);
        let (from, to) = (vrp.prefix.prefix_len(), vrp.prefix.max_prefix_len());
        if !(from..=to).contains(&vrp.max_length) {
            return Err(RulesError::MaxLength {
                prefix: vrp.prefix,
                max_length: vrp.max_length,
                from,
                to,
            });
        }
        all.push((vrp, expires));
    }
    Ok(Some(Vrps::expiring(all)))
}

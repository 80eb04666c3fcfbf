//! Vantage points: ways out of the machine, each with series of its own.

use super::ConfigError;
use super::section::{self, Section};
use super::target::TargetName;
use crate::net::exit::{Exit, InterfaceName};

/// Most vantage points, the machine's own choice included: each has sockets of its own for every kind of probe.
const MAX_VANTAGES: usize = 8;

/// The hop budget tells all ways of the largest configuration apart.
const _: () =
    assert!(crate::config::MAX_TARGETS * 2 * MAX_VANTAGES <= crate::probe::budget::MOST_WAYS);

/// A way out with a name. The first of a configuration is the machine's own choice, which has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vantage {
    pub(crate) name: String,
    pub(crate) exit: Exit,
}

/// All `[[vantage]]` tables behind the machine's own choice.
pub(super) fn read(root: &mut Section) -> Result<Vec<Vantage>, ConfigError> {
    let mut vantages = vec![Vantage {
        name: String::new(),
        exit: Exit::default(),
    }];
    for (index, section) in root.subs("vantage")?.into_iter().enumerate() {
        let vantage = one(section)?;
        let is_taken = vantages.iter().any(|other| other.name == vantage.name);
        if is_taken || vantages.len() >= MAX_VANTAGES {
            let fix = format!(
                "give each vantage point a name of its own; there may be {}",
                MAX_VANTAGES - 1
            );
            return Err(root.refuse(&format!("vantage[{index}].name"), vantage.name, fix));
        }
        vantages.push(vantage);
    }
    Ok(vantages)
}

fn one(mut section: Section) -> Result<Vantage, ConfigError> {
    let name = section.require("name", "write name = \"…\" in each [[vantage]]", |value| {
        TargetName::parse(section::text(value)?)
    })?;
    let interface = section.take("interface", |value| {
        let fix = "write the name of an interface, such as \"eth1\"";
        let interface =
            InterfaceName::parse(section::text(value)?).ok_or_else(|| fix.to_owned())?;
        only_by_source(!cfg!(windows), interface)
    })?;
    let source = section.take("source", |value| {
        let fix = "write an address of this machine, such as \"192.0.2.7\"";
        section::text(value)?.parse().map_err(|_| fix.to_owned())
    })?;
    let dscp = section.take("dscp", |value| {
        let dscp = section::whole(value, 0, 63)?;
        only_by_source(dscp == 0 || !cfg!(windows), dscp)
    })?;
    if interface.is_none() && source.is_none() && dscp.is_none() {
        let fix =
            "name an interface, a source or a dscp: without any it is the machine's own choice";
        return Err(section.refuse("name", format!("{:?}", name.as_str()), fix));
    }
    section.finish()?;
    Ok(Vantage {
        name: name.as_str().to_owned(),
        exit: Exit {
            interface,
            source,
            dscp: dscp.and_then(|dscp| u8::try_from(dscp).ok()).unwrap_or(0),
        },
    })
}

/// A value that this system can put into effect.
fn only_by_source<T>(can_be: bool, value: T) -> Result<T, String> {
    let fix = "leave it out: Windows lets a program choose the source alone, so name source = \"192.0.2.7\"";
    can_be.then_some(value).ok_or_else(|| fix.to_owned())
}

/// The places of these names in the list of vantage points; `"default"` is the machine's own choice.
pub(super) fn places(names: &[String], vantages: &[Vantage]) -> Result<Vec<u16>, String> {
    let mut places = Vec::new();
    for name in names {
        let own = if name == "default" { "" } else { name };
        let place = vantages
            .iter()
            .position(|vantage| vantage.name == own)
            .and_then(|place| u16::try_from(place).ok())
            .ok_or_else(|| format!("there is no [[vantage]] of the name {name:?}"))?;
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() {
        return Err("name at least one [[vantage]], or \"default\"".to_owned());
    }
    Ok(places)
}

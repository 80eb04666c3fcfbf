//! Named sets of targets. The names are documented with their sources in `docs/operations/agent-config.md`.

use super::target::{Host, Protocols, RequestPath, Service, Target, TargetName};

/// The front doors of Microsoft 365.
const M365: &[(&str, &str, Protocols)] = &[
    ("exchange", "outlook.office365.com", Protocols::WITH_QUIC),
    ("sharepoint", "microsoft.sharepoint.com", Protocols::USUAL),
    ("teams", "teams.microsoft.com", Protocols::USUAL),
    // A relay for media: it takes TCP on 443 but speaks no HTTP there.
    (
        "teams-media",
        "world.tr.teams.microsoft.com",
        Protocols::NO_HTTPS,
    ),
    ("front-door", "a-ring.msedge.net", Protocols::WITH_QUIC),
];

const DYNAMICS365: &[(&str, &str, Protocols)] = &[
    ("dynamics365", "home.dynamics.com", Protocols::USUAL),
    ("power-apps", "make.powerapps.com", Protocols::USUAL),
];

/// Azure regions whose front door of Azure Resource Manager, `<region>.management.azure.com`, stands in the region.
const AZURE_REGIONS: &[&str] = &[
    "australiaeast",
    "brazilsouth",
    "canadacentral",
    "centralindia",
    "centralus",
    "eastasia",
    "eastus",
    "eastus2",
    "francecentral",
    "germanywestcentral",
    "italynorth",
    "japaneast",
    "japanwest",
    "koreacentral",
    "mexicocentral",
    "northcentralus",
    "northeurope",
    "norwayeast",
    "polandcentral",
    "qatarcentral",
    "southafricanorth",
    "southcentralus",
    "southeastasia",
    "southindia",
    "spaincentral",
    "swedencentral",
    "switzerlandnorth",
    "uaenorth",
    "uksouth",
    "ukwest",
    "westcentralus",
    "westeurope",
    "westindia",
    "westus",
    "westus2",
    "westus3",
];

/// The targets of the set called `name`.
///
/// # Errors
/// The fix, when there is no such set.
pub(super) fn targets_of(name: &str) -> Result<Vec<Target>, String> {
    let rows = |rows: &[(&str, &str, Protocols)], service| {
        rows.iter()
            .map(|(name, host, protocols)| target(name, host, service, *protocols))
            .collect()
    };
    match name {
        "m365" => rows(M365, Service::M365),
        "dynamics365" => rows(DYNAMICS365, Service::Dynamics365),
        _ => match name
            .strip_prefix("azure-")
            .filter(|region| AZURE_REGIONS.contains(region))
        {
            Some(region) => target(
                name,
                &format!("{region}.management.azure.com"),
                Service::Azure,
                Protocols::USUAL,
            )
            .map(|one| vec![one]),
            None => Err(format!(
                "the sets are \"m365\", \"dynamics365\" and \"azure-<region>\" with a region of {}",
                AZURE_REGIONS.join(", ")
            )),
        },
    }
}

fn target(
    name: &str,
    host: &str,
    service: Service,
    protocols: Protocols,
) -> Result<Target, String> {
    Ok(Target {
        name: TargetName::parse(name)?,
        host: Host::parse(host)?,
        port: 443,
        service,
        protocols,
        trace: true,
        path: RequestPath::root(),
        vantages: vec![0],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_set_is_valid_and_small() {
        for name in ["m365", "dynamics365"]
            .map(str::to_owned)
            .into_iter()
            .chain(AZURE_REGIONS.iter().map(|r| format!("azure-{r}")))
        {
            let targets = targets_of(&name).expect("a valid set");
            assert!((1..=5).contains(&targets.len()), "{name}");
        }
    }

    #[test]
    fn an_unknown_set_names_those_that_exist() {
        let fix = targets_of("azure-atlantis").expect_err("no such region");
        assert!(fix.contains("m365") && fix.contains("westeurope"), "{fix}");
    }
}

//! Connections as people ask for them: what each promises, to which sites, and its prefixes.

use std::collections::BTreeSet;

use crate::Resources;
use crate::compliance::Promise;
use crate::directory::{self, Directory};
use crate::id::ResourceId;
use crate::model::{Resource, Service};

/// The tag of a connection that names its sites, comma between two.
pub const SITES_TAG: &str = "sites";

/// Names of the sites that a connection serves, by its tag.
pub fn sites_of(resource: &Resource) -> BTreeSet<String> {
    let tags = resource.envelope.tags.as_ref();
    let named = tags.and_then(|tags| {
        let mut all = tags.iter();
        all.find(|(name, _)| name.eq_ignore_ascii_case(SITES_TAG))
    });
    let text = named
        .and_then(|(_, value)| value.as_str())
        .unwrap_or_default();
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    words.map(str::to_owned).collect()
}

/// What a connection promises, by what is registered. Metros come as codes where their names are known.
pub fn promise_of(resources: &Resources, directory: &Directory, service: &Service) -> Promise {
    let code = |name: &str| directory::metro_code(name).unwrap_or(name).to_owned();
    let partner = service
        .peering_service_provider
        .as_deref()
        .unwrap_or_default();
    let partner = directory
        .provider(partner)
        .map(|provider| provider.name.as_str());
    let is_partner = |name: &Option<String>| {
        let known = name.as_deref().and_then(|name| directory.provider(name));
        known.is_some_and(|known| Some(known.name.as_str()) == partner)
    };
    let (theirs, own): (Vec<_>, Vec<_>) = resources
        .all()
        .filter_map(|one| one.properties.peer_asn())
        .partition(|asn| is_partner(&asn.peer_name));
    let customers = resources
        .all()
        .filter_map(|one| one.properties.registered_asn());
    // An AS whose name is no partner's at all is the customer's own: its PeerAsn is what lets another origin be announced.
    let own = own.into_iter().filter(|asn| {
        let known = asn
            .peer_name
            .as_deref()
            .and_then(|name| directory.provider(name));
        known.is_none()
    });
    Promise {
        provider_asns: theirs.into_iter().map(|asn| asn.peer_asn).collect(),
        own_asns: own
            .map(|asn| asn.peer_asn)
            .chain(customers.map(|one| one.asn))
            .collect(),
        primary: code(
            service
                .provider_primary_peering_location
                .as_deref()
                .unwrap_or_default(),
        ),
        backup: service.backup().map(code),
    }
}

/// The prefixes of a connection.
pub fn prefixes_of<'a>(
    resources: &'a Resources,
    connection: &'a ResourceId,
) -> impl Iterator<Item = &'a Resource> {
    let inside = resources.all().filter(|one| one.id.is_inside(connection));
    inside.filter(|one| one.properties.prefix().is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id::Kind;
    use crate::model::{Envelope, Properties};

    fn resource(kind: Kind, name: &str, properties: serde_json::Value) -> Resource {
        Resource {
            id: ResourceId {
                subscription: "s".to_owned(),
                group: "g".to_owned(),
                kind,
                names: vec![name.to_owned(); kind.segments().len()],
            },
            envelope: Envelope::default(),
            properties: Properties::read(kind, properties).expect("they fit"),
        }
    }

    #[test]
    fn the_promise_names_the_partner_by_its_as_and_the_metros_by_their_codes() {
        let resources: Resources = [
            resource(
                Kind::PeerAsn,
                "a",
                json!({ "peerAsn": 64_496, "peerName": "Swisscom Switzerland Ltd" }),
            ),
            resource(
                Kind::PeerAsn,
                "b",
                json!({ "peerAsn": 64_497, "peerName": "Colt" }),
            ),
            resource(
                Kind::PeerAsn,
                "c",
                json!({ "peerAsn": 64_498, "peerName": "us" }),
            ),
            resource(Kind::RegisteredAsn, "d", json!({ "asn": 64_499 })),
        ]
        .into_iter()
        .collect();
        let service = json!({ "peeringServiceProvider": "Swisscom", "providerPrimaryPeeringLocation": "zurich", "providerBackupPeeringLocation": "None" });
        let service: Service = serde_json::from_value(service).expect("it fits");
        let promise = promise_of(&resources, &Directory::builtin(), &service);
        assert_eq!(promise.provider_asns, [64_496].into());
        assert_eq!(promise.own_asns, [64_498, 64_499].into());
        assert_eq!((promise.primary.as_str(), promise.backup), ("ZRH", None));
    }

    #[test]
    fn sites_are_named_by_a_tag() {
        let mut connection = resource(Kind::PeeringService, "x", json!({}));
        assert!(sites_of(&connection).is_empty());
        let tags = json!({ "Sites": "Bern, Basel Nord ,", "team": "net" });
        connection.envelope.tags = tags.as_object().cloned();
        assert_eq!(
            sites_of(&connection),
            ["Basel Nord".to_owned(), "Bern".to_owned()].into()
        );
    }
}

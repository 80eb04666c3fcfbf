//! The desk as a script meets it, and the rules of prefixes, one by one.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::answer::Change;
use crate::routes::{Route, Session};
use crate::standing::{Side, standing};

const GROUP: &str = "/subscriptions/s1/resourceGroups/net/providers/Microsoft.Peering";

/// A desk that remembers.
#[derive(Default)]
struct Office {
    resources: Resources,
    sessions: Sessions,
    events: BTreeMap<ipnet::IpNet, Vec<PrefixEvent>>,
    tests: BTreeMap<String, TestOutcome>,
    keys: u128,
}

impl Office {
    fn ask(&mut self, method: Method, target: &str, body: &Value) -> (u16, Value) {
        self.send(method, target, body.to_string().as_bytes())
    }

    fn send(&mut self, method: Method, target: &str, body: &[u8]) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut query: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        query.push(("api-version".to_owned(), "2025-05-01".to_owned()));
        self.keys += 1;
        let directory = Directory::builtin();
        let world = World {
            resources: &self.resources,
            directory: &directory,
            sessions: &self.sessions,
            events: &self.events,
            tests: &self.tests,
        };
        let request = Request {
            method,
            path,
            query: &query,
            body,
            fresh_key: Uuid::from_u128(self.keys),
        };
        let answer = answer(&world, &request);
        assert_eq!(
            answer.changes.is_empty(),
            answer.audit.is_none(),
            "each change has its line in the audit log"
        );
        for change in answer.changes {
            match change {
                Change::Put(resource) => self.resources.put(*resource),
                Change::Delete(id) => self.resources.remove(&id),
            }
        }
        (answer.status, answer.body.unwrap_or_default())
    }

    fn put(&mut self, name: &str, properties: &Value) -> (u16, Value) {
        self.ask(
            Method::Put,
            &format!("{GROUP}/{name}"),
            &json!({ "location": "x", "properties": properties }),
        )
    }

    fn get(&mut self, name: &str) -> (u16, Value) {
        self.send(Method::Get, &format!("{GROUP}/{name}"), b"")
    }

    /// A partner with two sessions in Zurich and one in Geneva, and a customer's connection with one prefix.
    fn furnished() -> Self {
        let mut office = Self::default();
        let asn = "/subscriptions/s1/providers/Microsoft.Peering/peerAsns/partner";
        let body = json!({ "properties": { "peerAsn": 64_496, "peerName": "Swisscom" } });
        assert_eq!(office.ask(Method::Put, asn, &body).0, 201);
        for (name, metro, links) in [
            (
                "zrh",
                "Zurich",
                &[("192.0.2.1", "192.0.2.0"), ("192.0.2.3", "192.0.2.2")][..],
            ),
            ("gva", "Geneva", &[("192.0.2.5", "192.0.2.4")]),
        ] {
            let links: Vec<Value> = links
                .iter()
                .map(|(peer, microsoft)| {
                    json!({ "bandwidthInMbps": 10_000, "bgpSession": {
                    "peerSessionIPv4Address": peer, "microsoftSessionIPv4Address": microsoft } })
                })
                .collect();
            let direct = json!({ "connections": links, "useForPeeringService": true, "peerAsn": { "id": asn } });
            assert_eq!(
                office
                    .put(
                        &format!("peerings/{name}"),
                        &json!({ "direct": direct, "peeringLocation": metro })
                    )
                    .0,
                201
            );
        }
        let (_, registered) = office.put(
            "peerings/zrh/registeredPrefixes/lan",
            &json!({ "prefix": "198.51.100.0/24" }),
        );
        let key = registered["properties"]["peeringServicePrefixKey"].clone();
        let service = json!({ "peeringServiceLocation": "Switzerland", "peeringServiceProvider": "Swisscom",
            "providerPrimaryPeeringLocation": "Zurich", "providerBackupPeeringLocation": "Geneva" });
        assert_eq!(office.put("peeringServices/bern", &service).0, 201);
        let prefix = json!({ "prefix": "198.51.100.0/24", "peeringServicePrefixKey": key });
        assert_eq!(
            office.put("peeringServices/bern/prefixes/lan", &prefix).0,
            201
        );
        office
    }

    /// All sessions announce the prefix as the rules ask.
    fn announced(mut self) -> Self {
        for address in ["192.0.2.1", "192.0.2.3", "192.0.2.5"] {
            let route = Route {
                path: vec![64_496, 64_500],
                communities: Some(vec![(64_496, 1), (8075, 8007)]),
                received_unix_ms: 1_700_000_000_000,
            };
            let session = Session {
                asn: 64_496,
                routes: [("198.51.100.0/24".parse().expect("a prefix"), route)].into(),
                ..Session::default()
            };
            self.sessions
                .insert(address.parse().expect("an address"), session);
        }
        self
    }

    fn route(&mut self, session: &str, change: impl FnOnce(&mut Route)) {
        let address: IpAddr = session.parse().expect("an address");
        let session = self.sessions.get_mut(&address).expect("a session");
        change(session.routes.values_mut().next().expect("a route"));
    }

    fn verdict(&mut self) -> (String, String) {
        let (status, body) = self.get("peeringServices/bern/prefixes/lan");
        assert_eq!(status, 200, "{body}");
        let text = |name: &str| {
            body["properties"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        (text("prefixValidationState"), text("errorMessage"))
    }
}

#[test]
fn a_prefix_that_keeps_every_rule_is_verified() {
    let mut office = Office::furnished().announced();
    assert_eq!(office.verdict(), ("Verified".to_owned(), String::new()));
    let (_, body) = office.get("peeringServices/bern/prefixes/lan");
    assert_eq!(body["properties"]["learnedType"], "ViaServiceProvider");
    assert_eq!(body["type"], "Microsoft.Peering/peeringServices/prefixes");
    assert_eq!(body["properties"]["provisioningState"], "Succeeded");
}

#[test]
fn what_no_feed_shows_is_unknown_and_never_failed() {
    let mut office = Office::furnished();
    let (state, message) = office.verdict();
    assert_eq!(state, "Unknown", "{message}");
    assert!(
        message.contains("not_received(192.0.2.1) not observable"),
        "{message}"
    );
    let mut office = Office::furnished().announced();
    office.route("192.0.2.5", |route| route.communities = None);
    let (state, message) = office.verdict();
    assert_eq!(state, "Unknown", "{message}");
    assert!(
        message.contains("community_missing(192.0.2.5) not observable"),
        "{message}"
    );
}

#[test]
fn each_broken_rule_is_named_with_its_session() {
    type Break = fn(&mut Office);
    let table: [(&str, &str, Break); 8] = [
        ("community_missing(192.0.2.3)", "Failed", |office| {
            office.route("192.0.2.3", |route| route.communities = Some(vec![]));
        }),
        ("path_too_long(192.0.2.5)", "Failed", |office| {
            office.route("192.0.2.5", |route| {
                route.path = vec![64_496, 64_497, 64_498, 64_499];
            });
        }),
        ("private_asn(192.0.2.1)", "Failed", |office| {
            office.route("192.0.2.1", |route| route.path = vec![64_496, 64_512]);
        }),
        ("path_prepended(192.0.2.1)", "Failed", |office| {
            office.route("192.0.2.1", |route| {
                route.path = vec![64_496, 64_500, 64_500];
            });
        }),
        ("not_received(192.0.2.3)", "Failed", |office| {
            let session = office
                .sessions
                .get_mut(&"192.0.2.3".parse::<IpAddr>().expect("an address"));
            session.expect("a session").routes.clear();
        }),
        ("overlap", "Failed", |office| {
            let service = json!({ "peeringServiceProvider": "Colt", "providerPrimaryPeeringLocation": "Milan" });
            office.put("peeringServices/other", &service);
            office.put(
                "peeringServices/other/prefixes/half",
                &json!({ "prefix": "198.51.100.128/25" }),
            );
        }),
        ("primary_redundancy", "Failed", |office| {
            let links = json!([{ "bgpSession": { "peerSessionIPv4Address": "192.0.2.1" } }]);
            let asn =
                json!({ "id": "/subscriptions/s1/providers/Microsoft.Peering/peerAsns/partner" });
            office.put("peerings/zrh", &json!({ "direct": { "connections": links, "peerAsn": asn }, "peeringLocation": "Zurich" }));
        }),
        ("backup_missing", "Failed", |office| {
            office.ask(
                Method::Delete,
                &format!("{GROUP}/peerings/gva"),
                &Value::Null,
            );
        }),
    ];
    for (code, want, break_it) in table {
        let mut office = Office::furnished().announced();
        break_it(&mut office);
        let (state, message) = office.verdict();
        assert_eq!(state, want, "{code}: {message}");
        assert!(message.contains(code), "{code}: {message}");
    }
}

#[test]
fn the_key_must_be_that_of_the_registration() {
    let other = Uuid::from_u128(99).to_string();
    for (name, key, code) in [
        ("another", json!(other), "key_mismatch:"),
        ("none", Value::Null, "key_mismatch:"),
        ("no key at all", json!("secret"), "key_mismatch:"),
    ] {
        let mut office = Office::furnished().announced();
        office.put(
            "peeringServices/bern/prefixes/lan",
            &json!({ "prefix": "198.51.100.0/24", "peeringServicePrefixKey": key }),
        );
        let (state, message) = office.verdict();
        assert_eq!(state, "Failed", "{name}: {message}");
        assert!(message.contains(code), "{name}: {message}");
    }
    // One key for all prefixes of an AS.
    let mut office = Office::furnished().announced();
    let (_, asn) = office.put(
        "peerings/zrh/registeredAsns/customer",
        &json!({ "asn": 64_500 }),
    );
    let key = &asn["properties"]["peeringServicePrefixKey"];
    office.put(
        "peeringServices/bern/prefixes/lan",
        &json!({ "prefix": "198.51.100.0/24", "peeringServicePrefixKey": key }),
    );
    assert_eq!(office.verdict().0, "Verified");
    // And both are registered once.
    assert_eq!(
        office
            .put(
                "peerings/gva/registeredAsns/again",
                &json!({ "asn": 64_500 })
            )
            .0,
        409
    );
    assert_eq!(
        office
            .put(
                "peerings/gva/registeredPrefixes/again",
                &json!({ "prefix": "198.51.100.0/24" })
            )
            .0,
        409
    );
}

#[test]
fn space_that_is_not_routed_is_invalid_and_ipv6_has_a_remark() {
    let mut office = Office::furnished().announced();
    office.put(
        "peeringServices/bern/prefixes/private",
        &json!({ "prefix": "10.1.0.0/16" }),
    );
    let (_, body) = office.get("peeringServices/bern/prefixes/private");
    assert_eq!(
        body["properties"]["prefixValidationState"], "Invalid",
        "{body}"
    );
    let (_, body) = office.put(
        "peeringServices/bern/prefixes/six",
        &json!({ "prefix": "2001:db8::/32" }),
    );
    let message = body["properties"]["errorMessage"]
        .as_str()
        .expect("a message");
    assert!(message.contains("ipv6"), "{message}");
}

/// What is put, the status and the code of the answer.
const REFUSED: [(&str, &str, &str, u16, &str); 9] = [
    (
        "no prefix",
        "peeringServices/bern/prefixes/a",
        r#"{"properties":{"prefix":"nonsense"}}"#,
        400,
        "InvalidProperties",
    ),
    (
        "host bits",
        "peeringServices/bern/prefixes/a",
        r#"{"properties":{"prefix":"198.51.100.1/24"}}"#,
        400,
        "InvalidProperties",
    ),
    (
        "another prefix",
        "peeringServices/bern/prefixes/lan",
        r#"{"properties":{"prefix":"203.0.113.0/24"}}"#,
        409,
        "PropertyChangeNotAllowed",
    ),
    (
        "another primary",
        "peeringServices/bern",
        r#"{"properties":{"peeringServiceProvider":"Swisscom","providerPrimaryPeeringLocation":"Basel"}}"#,
        409,
        "PropertyChangeNotAllowed",
    ),
    (
        "no provider",
        "peeringServices/x",
        r#"{"properties":{}}"#,
        400,
        "InvalidProperties",
    ),
    (
        "no outer",
        "peeringServices/none/prefixes/a",
        r#"{"properties":{"prefix":"203.0.113.0/24"}}"#,
        404,
        "ParentResourceNotFound",
    ),
    (
        "no JSON",
        "peeringServices/x",
        "{",
        400,
        "InvalidRequestContent",
    ),
    (
        "a bad name",
        "peeringServices/a b",
        "{}",
        404,
        "InvalidResourceType",
    ),
    ("a list", "peeringServices", "{}", 405, "MethodNotAllowed"),
];

#[test]
fn what_cannot_be_used_is_refused_in_the_error_envelope() {
    let mut office = Office::furnished();
    for (name, target, body, status, code) in REFUSED {
        let (got, answer) = office.send(Method::Put, &format!("{GROUP}/{target}"), body.as_bytes());
        assert_eq!(
            (got, answer["error"]["code"].as_str()),
            (status, Some(code)),
            "{name}: {answer}"
        );
        assert!(
            answer["error"]["message"]
                .as_str()
                .is_some_and(|message| message.len() > 20),
            "{name}: {answer}"
        );
    }
}

#[test]
fn the_api_version_is_asked_for() {
    let office = Office::default();
    let directory = Directory::builtin();
    for (query, code) in [
        (vec![], "MissingApiVersionParameter"),
        (
            vec![("API-Version".to_owned(), "2031-01-01".to_owned())],
            "InvalidApiVersionParameter",
        ),
    ] {
        let world = World {
            resources: &office.resources,
            directory: &directory,
            sessions: &office.sessions,
            events: &office.events,
            tests: &office.tests,
        };
        let request = Request {
            method: Method::Get,
            path: "/providers/Microsoft.Peering/operations",
            query: &query,
            body: b"",
            fresh_key: Uuid::nil(),
        };
        let answer = answer(&world, &request);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.body.expect("a body")["error"]["code"], code);
    }
}

#[test]
fn lists_hold_what_is_in_their_place() {
    let mut office = Office::furnished();
    let count = |office: &mut Office, target: &str| {
        office.send(Method::Get, target, b"").1["value"]
            .as_array()
            .map(Vec::len)
    };
    for (target, want) in [
        (format!("{GROUP}/peeringServices"), Some(1)),
        (
            "/subscriptions/S1/providers/microsoft.peering/peeringservices".to_owned(),
            Some(1),
        ),
        (
            "/subscriptions/s2/providers/Microsoft.Peering/peeringServices".to_owned(),
            Some(0),
        ),
        (
            "/subscriptions/s1/resourceGroups/other/providers/Microsoft.Peering/peeringServices"
                .to_owned(),
            Some(0),
        ),
        (format!("{GROUP}/peeringServices/bern/prefixes"), Some(1)),
        (format!("{GROUP}/peeringServices/none/prefixes"), None),
        (format!("{GROUP}/peerings"), Some(2)),
        (format!("{GROUP}/peerings/zrh/registeredPrefixes"), Some(1)),
        (format!("{GROUP}/peerings/zrh/registeredAsns"), Some(0)),
        (format!("{GROUP}/peerings/zrh/rpUnbilledPrefixes"), Some(0)),
        (
            "/subscriptions/s1/providers/Microsoft.Peering/peerAsns".to_owned(),
            Some(1),
        ),
        (
            "/subscriptions/s1/providers/Microsoft.Peering/peeringServiceLocations?country=US"
                .to_owned(),
            Some(51),
        ),
        (
            "/subscriptions/s1/providers/Microsoft.Peering/peeringServiceCountries".to_owned(),
            Some(249),
        ),
        (
            "/providers/Microsoft.Peering/operations".to_owned(),
            Some(21),
        ),
    ] {
        assert_eq!(count(&mut office, &target), want, "{target}");
    }
    let mut office = office.announced();
    assert_eq!(
        count(&mut office, &format!("{GROUP}/peerings/zrh/receivedRoutes")),
        Some(2)
    );
}

#[test]
fn events_come_when_they_are_asked_for() {
    let mut office = Office::furnished();
    let event = PrefixEvent {
        event_timestamp: "2026-11-23T10:00:00Z".to_owned(),
        event_type: "PrefixOriginAsChangeEvent".to_owned(),
        event_summary: "198.51.100.0/24 is announced by AS64511".to_owned(),
        event_level: "Critical".to_owned(),
        event_description: "seen by 12 peers".to_owned(),
    };
    office
        .events
        .insert("198.51.100.0/24".parse().expect("a prefix"), vec![event]);
    let (_, plain) = office.get("peeringServices/bern/prefixes/lan");
    assert!(plain["properties"].get("events").is_none());
    let (_, expanded) = office.get("peeringServices/bern/prefixes/lan?$expand=events");
    assert_eq!(
        expanded["properties"]["events"][0]["eventLevel"],
        "Critical"
    );
    let (_, list) = office.get("peeringServices/bern/prefixes?$expand=events");
    assert_eq!(
        list["value"][0]["properties"]["events"][0]["eventType"],
        "PrefixOriginAsChangeEvent"
    );
}

#[test]
fn what_is_within_goes_with_its_outer_resource() {
    let mut office = Office::furnished();
    let target = format!("{GROUP}/PeeringServices/BERN");
    assert_eq!(office.send(Method::Delete, &target, b"").0, 200);
    assert_eq!(office.send(Method::Delete, &target, b"").0, 204);
    assert_eq!(office.get("peeringServices/bern/prefixes/lan").0, 404);
    assert_eq!(office.resources.len(), 4, "the partner's resources stay");
}

#[test]
fn tags_change_alone() {
    let mut office = Office::furnished();
    let target = format!("{GROUP}/peeringServices/bern");
    let (status, body) = office.ask(
        Method::Patch,
        &target,
        &json!({ "tags": { "team": "net" } }),
    );
    assert_eq!((status, &body["tags"]["team"]), (200, &json!("net")));
    assert_eq!(body["properties"]["peeringServiceProvider"], "Swisscom");
    assert_eq!(
        office
            .ask(Method::Patch, &target, &json!({ "properties": {} }))
            .0,
        400
    );
}

#[test]
fn a_partner_near_by_is_available() {
    let mut office = Office::default();
    let target = "/subscriptions/s1/providers/Microsoft.Peering/checkServiceProviderAvailability";
    for (provider, location, want) in [
        ("Swisscom", "Switzerland", "Available"),
        ("Swisscom", "Georgia", "Unavailable"),
        ("Nobody", "Georgia", "Unavailable"),
    ] {
        let body =
            json!({ "peeringServiceLocation": location, "peeringServiceProvider": provider });
        assert_eq!(
            office.ask(Method::Post, target, &body),
            (200, json!(want)),
            "{provider} {location}"
        );
    }
}

#[test]
fn a_registered_prefix_is_validated_on_demand() {
    let mut office = Office::furnished().announced();
    let target = format!("{GROUP}/peerings/zrh/registeredPrefixes/lan/validate");
    let (status, body) = office.send(Method::Post, &target, b"");
    assert_eq!(
        (status, &body["properties"]["prefixValidationState"]),
        (200, &json!("Verified")),
        "{body}"
    );
    assert_eq!(
        office
            .send(Method::Post, &target.replace("lan", "none"), b"")
            .0,
        404
    );
}

proptest! {
    #[test]
    fn what_is_stored_comes_back_the_same(extra in "[a-z]{1,8}", number in any::<u32>()) {
        let mut office = Office::furnished();
        let body = json!({ "properties": { "peeringLocation": "Milan", "direct": { "connections": [{ extra.as_str(): number,
            "bgpSession": { "peerSessionIPv4Address": "192.0.2.9", "maxPrefixesAdvertisedV4": number } }], "directPeeringType": extra } } });
        office.ask(Method::Put, &format!("{GROUP}/peerings/mil"), &body);
        for resource in office.resources.all() {
            let stored = resource.to_stored().expect("plain data");
            prop_assert_eq!(&crate::model::Resource::from_stored(&stored).expect("what was written"), resource);
        }
    }

    #[test]
    fn no_body_and_no_path_stops_the_desk(path in "(/|[a-zA-Z.]{0,12}){0,9}", body in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut office = Office::furnished();
        for method in [Method::Get, Method::Put, Method::Patch, Method::Post, Method::Delete] {
            let (status, _) = office.send(method, &format!("{GROUP}/{path}"), &body);
            prop_assert!((200..=501).contains(&status));
        }
    }
}

#[test]
fn where_a_prefix_stands_comes_from_the_sessions_of_its_connection() {
    let stands = |office: &Office| {
        let directory = Directory::builtin();
        let world = World {
            resources: &office.resources,
            directory: &directory,
            sessions: &office.sessions,
            events: &office.events,
            tests: &office.tests,
        };
        let mut all = office.resources.all();
        let (resource, prefix) = all
            .find_map(|one| Some((one, one.properties.prefix()?)))
            .expect("a prefix");
        standing(&world, resource, prefix).expect("its connection is there")
    };
    let unseen = stands(&Office::furnished());
    assert!(!unseen.primary.observable && !unseen.backup.observable);
    let mut office = Office::furnished().announced();
    let good = stands(&office);
    let session = |side: &Side| side.way.as_ref().map(|way| way.session.to_string());
    assert_eq!(session(&good.primary).as_deref(), Some("192.0.2.1"));
    assert_eq!(session(&good.backup).as_deref(), Some("192.0.2.5"));
    // The other session at the primary still announces it.
    office.sessions.remove(&IpAddr::from([192, 0, 2, 1]));
    let left = stands(&office);
    assert_eq!(session(&left.primary).as_deref(), Some("192.0.2.3"));
    for known in office.sessions.values_mut() {
        known.routes.clear();
    }
    let gone = stands(&office);
    let prefix = "198.51.100.0/24".parse().expect("a prefix");
    let events = gone.events(Some(&left), prefix, "2026-01-01T00:00:00Z");
    let types: Vec<&str> = events.iter().map(|one| one.event_type.as_str()).collect();
    assert_eq!(
        types[..2],
        ["PrefixWithdrawalEvent", "PrefixBackupRouteWithdrawalEvent"]
    );
}

"""A script as customers and partners have it: the published client, a subscription, a connection, its prefixes, and their events.

A router shows the first of the partner's sessions by BMP; the partner announces 198.51.100.0/24 there.

Usage: script.py URL CA-FILE < token. Prints one line a step; ends with an error at the first surprise.
"""

import sys
import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.peering import PeeringManagementClient
from azure.mgmt.peering.models import (
    CheckServiceProviderAvailabilityInput,
    ConnectionMonitorTest,
    PeerAsn,
    Peering,
    PeeringRegisteredAsn,
    PeeringRegisteredPrefix,
    PeeringService,
    PeeringServicePrefix,
    ResourceTags,
)

# The test withdraws the prefix when it reads this.
WITHDRAW = "now the partner withdraws the prefix"


class Token:
    """The collector's token, as a credential of the client."""

    def __init__(self, secret):
        self.secret = secret

    def get_token(self, *scopes, **options):
        return AccessToken(self.secret, int(time.time()) + 3600)


def refused(work):
    """The code with which the work is refused."""
    try:
        work()
    except HttpResponseError as error:
        return error.error.code
    raise SystemExit("nothing was refused")


def equal(what, got, want):
    if got != want:
        raise SystemExit(f"{what}: got {got!r}, want {want!r}")
    print(f"{what}: {got!r}", flush=True)


def register_partner(client):
    asn = client.peer_asns.create_or_update("partner", PeerAsn(properties={"peerAsn": 64496, "peerName": "Swisscom"}))
    equal("AS", (asn.properties.peer_asn, asn.properties.validation_state), (64496, "Approved"))
    connections = [
        {
            "bandwidthInMbps": 10000,
            "sessionAddressProvider": "Peer",
            "bgpSession": {
                "peerSessionIPv4Address": peer,
                "microsoftSessionIPv4Address": f"192.0.2.{2 * number}",
            },
        }
        for number, peer in enumerate(["127.0.0.1", "192.0.2.3"])
    ]
    peering = Peering(
        {
            "location": "westeurope",
            "kind": "Direct",
            "sku": {"name": "Premium_Direct_Free"},
            "properties": {
                "peeringLocation": "Zurich",
                "direct": {
                    "connections": connections,
                    "useForPeeringService": True,
                    "peerAsn": {"id": asn.id},
                    "directPeeringType": "Edge",
                },
            },
        }
    )
    made = client.peerings.create_or_update("net", "zrh", peering)
    equal("peering", (made.kind, len(made.properties.direct.connections)), ("Direct", 2))
    prefix = PeeringRegisteredPrefix(properties={"prefix": "198.51.100.0/24"})
    prefix = client.registered_prefixes.create_or_update("net", "zrh", "lan", prefix)
    validated = client.registered_prefixes.validate("net", "zrh", "lan")
    equal("registered prefix", validated.properties.prefix_validation_state, "Unknown")
    customer = client.registered_asns.create_or_update("net", "zrh", "customer", PeeringRegisteredAsn(properties={"asn": 64500}))
    equal("registered AS", (customer.properties.asn, customer.properties.peering_service_prefix_key is not None), (64500, True))
    return prefix.properties.peering_service_prefix_key


def register_customer(client, key):
    service = PeeringService(
        {
            "location": "westeurope",
            "properties": {
                "peeringServiceLocation": "Switzerland",
                "peeringServiceProvider": "Swisscom",
                "providerPrimaryPeeringLocation": "Zurich",
            },
        }
    )
    made = client.peering_services.create_or_update("net", "bern", service)
    equal("connection", (made.name, made.properties.provisioning_state), ("bern", "Succeeded"))
    body = PeeringServicePrefix(properties={"prefix": "198.51.100.0/24", "peeringServicePrefixKey": key})
    prefix = client.prefixes.create_or_update("net", "bern", "lan", body)
    equal("prefix", prefix.properties.prefix_validation_state, "Unknown")
    if "not observable" not in prefix.properties.error_message:
        raise SystemExit(f"no reason: {prefix.properties.error_message}")
    tagged = client.peering_services.update("net", "bern", ResourceTags(tags={"sites": "Bern"}))
    equal("tags", (dict(tagged.tags), tagged.properties.peering_service_provider), ({"sites": "Bern"}, "Swisscom"))
    test = {"sourceAgent": "bern-1", "destination": "teams.microsoft.com", "destinationPort": 443, "testFrequencyInSec": 30}
    test = client.connection_monitor_tests.create_or_update("net", "bern", "teams", ConnectionMonitorTest(properties=test))
    equal("test", (test.properties.test_frequency_in_sec, test.properties.is_test_successful), (30, False))


def until(what, look):
    """What is looked for, once it is there: routes and events come when the collector hears of them."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise SystemExit(f"{what}: not within 90 s")


def read_routes(client):
    [route] = until("routes", lambda: list(client.received_routes.list_by_peering("net", "zrh")))
    equal("route", (route.prefix, route.as_path, route.next_hop), ("198.51.100.0/24", "64496 64500", "127.0.0.1"))
    other = client.received_routes.list_by_peering("net", "zrh", prefix="203.0.113.0/24")
    equal("another prefix's routes", list(other), [])

    def level_of(wanted):
        found = client.prefixes.get("net", "bern", "lan", expand="events")
        return {event.event_type: event.event_level for event in found.properties.events}.get(wanted)

    equal("active path", until("its event", lambda: level_of("PrefixActivePath")), "Information")
    print(WITHDRAW, flush=True)
    equal("withdrawal", until("its event", lambda: level_of("PrefixWithdrawalEvent")), "Warning")
    equal("routes", list(client.received_routes.list_by_peering("net", "zrh")), [])


def read_lists(client):
    equal("connections", [one.name for one in client.peering_services.list_by_subscription()], ["bern"])
    equal("prefixes", [one.properties.prefix for one in client.prefixes.list_by_peering_service("net", "bern")], ["198.51.100.0/24"])
    providers = {one.properties.service_provider_name for one in client.peering_service_providers.list()}
    equal("providers", "Swisscom" in providers, True)
    states = [one.properties.state for one in client.peering_service_locations.list(country="United States")]
    equal("states", len(states), 51)
    wanted = CheckServiceProviderAvailabilityInput(peering_service_location="Switzerland", peering_service_provider="Swisscom")
    equal("availability", client.check_service_provider_availability(wanted), "Available")


def meet_refusals(client):
    moved = PeeringServicePrefix(properties={"prefix": "203.0.113.0/24"})
    equal("another prefix", refused(lambda: client.prefixes.create_or_update("net", "bern", "lan", moved)), "PropertyChangeNotAllowed")
    wrong = PeeringServicePrefix(properties={"prefix": "198.51.100.1/24"})
    equal("host bits", refused(lambda: client.prefixes.create_or_update("net", "bern", "new", wrong)), "InvalidProperties")


def main():
    url, ca = sys.argv[1:]
    client = PeeringManagementClient(
        Token(sys.stdin.read().strip()),
        "s1",
        base_url=url,
        credential_scopes=[f"{url}/.default"],
        connection_verify=ca,
        retry_total=0,
    )
    register_customer(client, register_partner(client))
    read_routes(client)
    read_lists(client)
    meet_refusals(client)
    client.peering_services.delete("net", "bern")
    try:
        client.prefixes.get("net", "bern", "lan")
    except ResourceNotFoundError:
        print("all done", flush=True)
        return
    raise SystemExit("the prefix outlived its connection")


main()

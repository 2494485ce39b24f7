"""Which addresses a cluster takes."""

import ipaddress

import pytest

from cluster import errors, network, settings

SUBNET = ipaddress.IPv4Network("10.201.0.0/16")


def test_the_first_subnet_that_overlaps_nothing_is_taken() -> None:
    routes = [ipaddress.IPv4Network("10.201.5.0/24"), ipaddress.IPv4Network("10.202.0.0/15")]
    assert network.choose_subnet(routes) == ipaddress.IPv4Network("10.204.0.0/16")


def test_a_machine_whose_routes_cover_all_candidates_is_told_so() -> None:
    with pytest.raises(errors.PreflightError, match="No /16"):
        network.choose_subnet([ipaddress.IPv4Network("10.0.0.0/8")])


def test_machine_nodes_pods_and_services_have_addresses_apart() -> None:
    assert network.gateway(SUBNET) == "10.201.0.1"
    assert network.node_address(SUBNET, 1) == "10.201.0.2"
    assert network.pod_subnet(SUBNET, 2) == "10.201.2.0/24"
    assert network.service_subnet(SUBNET) == "10.201.128.0/20"
    assert network.first_service(SUBNET) == "10.201.128.1"


def test_device_names_are_short_enough_and_differ_between_clusters() -> None:
    one, two = (network.bridge_name(settings.Layout(name)) for name in ("one", "two"))
    assert len(network.cable_name(one, 20)) <= 15
    assert one != two

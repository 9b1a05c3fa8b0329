"""client: where the client comes from."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer, RootModel
from pydantic_core import PydanticCustomError

from faultproxy.rules.conditions.base import Asks, Condition, either, one_or_list
from faultproxy.rules.facts import NO_ADDRESS, ConnectionFacts, RuleState
from faultproxy.units import one_or_many, quote

Network = IPv4Network | IPv6Network

NETWORK_PATTERN = r"^[0-9A-Fa-f.:]+(?:/(?:0|[1-9][0-9]{0,2}))?$"
_MAPPED_BITS = 96


def _parse_network(value: object) -> Network:
    near = _nearest_network(value)
    if near is None:
        right = "write an address or a network, such as 10.0.0.0/8"
        raise PydanticCustomError("network", f"{quote(value)} is not an IP network; {right}")
    if (
        isinstance(near, IPv6Network)
        and near.network_address.ipv4_mapped is not None
        and near.prefixlen >= _MAPPED_BITS
    ):
        mapped = ip_network((near.network_address.ipv4_mapped, near.prefixlen - _MAPPED_BITS))
        raise PydanticCustomError(
            "network", f"{quote(value)} never matches, such a client counts as IPv4; write {mapped}"
        )
    try:
        return ip_network(str(value))
    except ValueError:
        raise PydanticCustomError("network", f"{quote(value)} has bits beyond its prefix; write {near}") from None


def _nearest_network(value: object) -> Network | None:
    """The network that holds an address written with too many bits; None if the value is no network at all."""
    if not isinstance(value, str) or not re.fullmatch(NETWORK_PATTERN, value):
        return None
    try:
        return ip_network(value, strict=False)
    except ValueError:
        return None


Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_parse_network), PlainSerializer(str)], ...],
    BeforeValidator(one_or_many),
    Field(min_length=1),
    one_or_list({"type": "string", "pattern": NETWORK_PATTERN, "examples": ["10.0.0.0/8"]}),
]


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of these networks; one that is unknown, or of a Unix socket, is in none."""
    if address in {"", NO_ADDRESS}:
        return False
    parsed = ip_address(address.partition("%")[0])
    return any(parsed in network for network in networks)


class Client(Condition, RootModel[Networks]):
    """Clients whose address is in one of these networks; an IPv4-mapped address is IPv4.

    Clients of a Unix socket have none.
    """

    key: ClassVar[str] = "client"
    asks: ClassVar[Asks | None] = "client"

    def holds(self, facts: ConnectionFacts, state: RuleState) -> bool:
        return is_in(facts.client, self.root)

    def explain(self, facts: ConnectionFacts, state: RuleState, *, holds: bool) -> str:
        return f"client {facts.client} {'is' if holds else 'is not'} in {either(self.root)}"

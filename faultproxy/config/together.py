"""What proxies must not be to one another, and to the API: at one place, or one another's server in a circle."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from posixpath import normpath
from types import MappingProxyType
from typing import NamedTuple

from faultproxy.addresses import Address, OriginalDestination, TcpAddress, UnixAddress

_LOOPBACK = MappingProxyType({"localhost": ("127.0.0.1", "::1"), "0.0.0.0": ("127.0.0.1",), "::": ("::1",)})
"""What is dialled by a name, and by the address that means all of this host's."""


AnyUpstream = Address | OriginalDestination


class Clash(NamedTuple):
    """A proxy whose ``listen`` or ``upstream`` cannot be; the text goes on where the value has been said."""

    proxy: str
    key: str
    text: str


def clashes(
    listens: Mapping[str, Address | None], upstreams: Mapping[str, AnyUpstream | None], api: Address | None = None
) -> Iterator[Clash]:
    """All there are among these proxies and the API, in about the time that it takes to look at each once.

    What a name or another address of this host stands for is not looked up.
    """
    yield from _twice_listening(listens, api)
    yield from _circles(listens, upstreams)
    if api is not None:
        for proxy, upstream in upstreams.items():
            if upstream is not None and reaches(upstream, api):
                yield Clash(proxy, "upstream", "is where the API listens; write the address of the server")


def _twice_listening(listens: Mapping[str, Address | None], api: Address | None) -> Iterator[Clash]:
    """Proxies that listen where one above them does, be it among all addresses. Port 0 is another port each time."""
    taken: dict[Address, str] = {}
    partly: dict[Address, str] = {}
    for owner, address in (("the API", api), *((f"proxy {name}", listen) for name, listen in listens.items())):
        if address is None or (isinstance(address, TcpAddress) and address.port == 0):
            continue
        wider: list[Address] = []
        if isinstance(address, TcpAddress):
            wider = [TcpAddress(host, address.port) for host in _wider(address.host)]
        owners = [taken.get(address), partly.get(address), *map(taken.get, wider)]
        other = next((owner for owner in owners if owner is not None), None)
        if other is not None:
            right = f"give this one a {'port' if isinstance(address, TcpAddress) else 'path'} of its own"
            yield Clash(owner.removeprefix("proxy "), "listen", f"is where {other} listens already; {right}")
        taken.setdefault(address, owner)
        for wide in wider:
            partly.setdefault(wide, owner)


def _circles(listens: Mapping[str, Address | None], upstreams: Mapping[str, AnyUpstream | None]) -> Iterator[Clash]:
    """Proxies that dial themselves, or one another in a circle: one client would take every descriptor there is."""
    by_end: dict[object, list[tuple[str, Address]]] = {}
    for name, listen in listens.items():
        if listen is not None:
            by_end.setdefault(_end(listen), []).append((name, listen))
    nexts = {
        name: [other for other, listen in by_end.get(_end(upstream), ()) if reaches(upstream, listen)]
        for name, upstream in upstreams.items()
        if upstream is not None
    }
    reported: set[str] = set()
    for name in nexts:
        if name in reported:
            continue
        circle = _way_back(name, nexts)
        if not circle or reported & set(circle):
            continue
        reported |= set(circle)
        where = "this proxy itself listens"
        if len(circle) > 1:
            where = f"proxy {circle[1]} listens, and {' -> '.join([*circle, name])} is a circle"
        yield Clash(name, "upstream", f"is where {where}; write the address of the server")


def _end(address: AnyUpstream) -> object:
    """What two addresses have in common if one leads to the other: the port, or the whole path."""
    if isinstance(address, UnixAddress):
        return normpath(address.path)
    return address.port if isinstance(address, TcpAddress) else address


def _way_back(start: str, nexts: Mapping[str, list[str]]) -> list[str]:
    """The proxies that a connection goes through from one until it is back there; none if it never is."""
    before: dict[str, str] = {}
    reached = [start]
    for proxy in reached:
        for following in nexts.get(proxy, ()):
            if following == start:
                way = [proxy]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return way[::-1]
            if following not in before:
                before[following] = proxy
                reached.append(following)
    return []


def reaches(upstream: AnyUpstream, listen: Address) -> bool:
    """Whether what is dialled is, as far as can be seen, where somebody listens."""
    if not isinstance(upstream, TcpAddress) or not isinstance(listen, TcpAddress):
        return _end(upstream) == _end(listen)
    if upstream.port != listen.port:
        return False
    host = _unmapped(upstream.host.lower())
    dialled = _LOOPBACK.get(host, (host,))
    listening = ("127.0.0.1", "::1") if listen.host.lower() == "localhost" else (listen.host.lower(),)
    return any(host in listening or (_is_loopback(host) and listen.host in _wider(host)) for host in dialled)


def _unmapped(host: str) -> str:
    """An IPv4-mapped address of IPv6 as IPv4, which is what it dials; any other host as it is."""
    try:
        mapped = IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return host if mapped is None else str(mapped)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _wider(host: str) -> tuple[str, ...]:
    """The hosts that stand for all addresses, this one among them."""
    if host in {"", "0.0.0.0", "::"}:
        return ("",) if host else ()
    try:
        return ("", "::" if ip_address(host).version == 6 else "0.0.0.0")
    except ValueError:
        return ("",)

"""Connections are led to the proxy by a table of its own and by routes, which go as they came."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faultproxy.kernel import routes
from faultproxy.kernel.original_dst import MARK
from faultproxy.tools import intercept
from faultproxy.tools.intercept import CannotIntercept, Interception
from tests.network import Namespaces, as_user, inside
from tests.servers import program

REDIRECT = Interception((5432, 6379), 15432, 65532)
TPROXY = Interception((5432,), 15432, 0, tproxy=True)
HOSTS = "192.0.2.1", "2001:db8::1"


@pytest.fixture
def namespace() -> Iterator[str]:
    """This thread is in a network namespace where rules may be made."""
    program("nft")
    with Namespaces() as namespaces, inside(namespaces.client):
        why = REDIRECT.why_not()
        if why is not None:
            pytest.skip(why)
        yield namespaces.client


def state() -> tuple[list[str], ...]:
    """All that interception may change, but for the routes of veth devices, which get some late."""
    commands = (
        "nft list ruleset",
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
    )
    outputs = (subprocess.run(each.split(), capture_output=True, text=True, check=True).stdout for each in commands)
    return tuple([line for line in output.splitlines() if " dev v0 " not in line] for output in outputs)


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("interception", [REDIRECT, TPROXY])
def test_it_is_taken_back_whole(interception: Interception) -> None:
    """However often it was applied; and where nothing was applied, nothing is taken."""
    before = state()
    interception.apply()
    applied = state()
    assert applied != before
    interception.apply()
    assert state() == applied
    intercept.remove()
    assert state() == before
    intercept.remove()
    assert state() == before


@pytest.mark.usefixtures("namespace")
def test_one_takes_the_place_of_the_other() -> None:
    """Neither leaves anything of the other's."""
    before = state()
    REDIRECT.apply()
    redirect = state()
    TPROXY.apply()
    REDIRECT.apply()
    assert state() == redirect
    intercept.remove()
    assert state() == before


@pytest.mark.usefixtures("namespace")
def test_the_script_does_the_same() -> None:
    """What is printed, sh carries out."""
    for interception in (REDIRECT, TPROXY):
        interception.apply()
        applied = state()
        intercept.remove()
        subprocess.run(["sh", "-e"], input=interception.script(), text=True, check=True)
        assert state() == applied
        intercept.remove()


@pytest.mark.usefixtures("namespace")
def test_marked_packets_come_here() -> None:
    """Of both families, as the listener finds out before it judges SYNs."""
    assert not any(routes.is_local(host, MARK | 15432) for host in HOSTS)
    TPROXY.apply()
    assert all(routes.is_local(host, MARK | 15432) for host in HOSTS)


@pytest.mark.usefixtures("namespace")
def test_where_there_is_no_ipv6() -> None:
    """As in many a container: IPv4 is led all the same, also by the script."""
    Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("1")
    before = state()
    TPROXY.apply()
    applied = state()
    assert routes.is_local(HOSTS[0], MARK | 15432)
    intercept.remove()
    assert state() == before
    subprocess.run(["sh", "-e"], input=TPROXY.script(), text=True, check=True, capture_output=True)
    assert state()[0] == applied[0]
    intercept.remove()


@pytest.mark.usefixtures("namespace")
def test_others_tables_stay() -> None:
    """Whatever else the firewall does goes on."""
    subprocess.run(["nft", "add", "table", "inet", "mine"], check=True)
    REDIRECT.apply()
    intercept.remove()
    assert state()[0] == ["table inet mine {", "}"]


@pytest.mark.usefixtures("namespace")
def test_to_find_out_changes_nothing() -> None:
    """The kernel checks the rules, and throws them away."""
    before = state()
    assert (REDIRECT.why_not(), TPROXY.why_not()) == (None, None)
    assert state() == before


@pytest.mark.usefixtures("namespace")
def test_what_is_refused() -> None:
    """The command is named, with its complaint, and all is as before; also what was applied before."""
    for applied in (None, REDIRECT, TPROXY):
        if applied is not None:
            applied.apply()
        is_refused_and_changes_nothing()
    intercept.remove()


def is_refused_and_changes_nothing() -> None:
    before = state()
    for interception in (Interception((0,), 70000, 0), Interception((1,), 70000, 0, tproxy=True)):
        assert interception.why_not() is not None
        with pytest.raises(CannotIntercept, match=r"nft --check -f -: .*Error"):
            interception.apply()
        assert state() == before


@pytest.mark.usefixtures("namespace")
def test_without_the_privilege() -> None:
    """It is said what it takes."""
    assert as_user(65534, REDIRECT.why_not) == "nft is not permitted to do so here; it takes CAP_NET_ADMIN"


@pytest.mark.usefixtures("namespace")
def test_without_ip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TPROXY takes it, and changes nothing without it."""
    before = state()
    (tmp_path / "nft").symlink_to(program("nft"))
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))
        with pytest.raises(CannotIntercept, match="it is in the package iproute2"):
            TPROXY.apply()
    assert state() == before


def test_without_its_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said which, and where it is to be had."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert REDIRECT.why_not() == "nft is not installed; it is in the package nftables"
    with pytest.raises(CannotIntercept, match="it is in the package nftables"):
        TPROXY.apply()

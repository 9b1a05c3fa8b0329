"""Leads clients to the proxy that know nothing of it, by rules of nftables, and with TPROXY of routing (nft(8), ip(8)).

With REDIRECT the kernel translates the destination of each connection, which the proxy then asks for. With TPROXY
nothing is translated: a mark has packets delivered on this host, and the proxy's listener is given them. Both act on
connections that begin in this network namespace, but for those of the proxy's own user: those go out.
"""

import errno
import shlex
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from faultproxy.kernel import capabilities, original_dst
from faultproxy.kernel.original_dst import MARK, ROUTED, SENT_AGAIN

TABLE = "faultproxy"
_ROUTES = 18000  # the number of a routing table; rt_tables of iproute2 names none above 255
_CHECK = "nft", "--check", "-f", "-"
_CLEAR = f"table inet {TABLE}\ndelete table inet {TABLE}\n"


class CannotIntercept(Exception):
    """A command could not be carried out; the text says which, and why."""


@dataclass(frozen=True, slots=True)
class Interception:
    """Connections to these ports go to the proxy at port ``to``, but for those of the user, a number."""

    ports: tuple[int, ...]
    to: int
    user: int
    tproxy: bool = False

    @property
    def ruleset(self) -> str:
        """What nft -f takes: it replaces the table as a whole."""
        ports = ", ".join(map(str, self.ports))
        return f"{_CLEAR}table inet {TABLE} {{\n{self._tproxy(ports) if self.tproxy else self._redirect(ports)}}}\n"

    def _redirect(self, ports: str) -> str:
        return (
            "  chain output {\n"
            "    type nat hook output priority -100; policy accept;\n"
            f"    meta skuid != {self.user} tcp dport {{ {ports} }} redirect to :{self.to}\n"
            "  }\n"
        )

    def _tproxy(self, ports: str) -> str:
        new, again = MARK | self.to, SENT_AGAIN | self.to
        return (
            "  chain output {\n"
            "    type route hook output priority mangle; policy accept;\n"
            f"    meta skuid != {self.user} tcp dport {{ {ports} }} meta mark set {new:#x}\n"
            "  }\n"
            "  chain prerouting {\n"
            "    type filter hook prerouting priority mangle; policy accept;\n"
            f"    meta mark {{ {new:#x}, {again:#x} }} meta l4proto tcp tproxy to :{self.to} accept\n"
            f"    meta mark {{ {new:#x}, {again:#x} }} meta l4proto tcp reject with tcp reset\n"
            "  }\n"
        )

    def script(self) -> str:
        """The same as a script for sh, to be read, kept, and run elsewhere."""
        ports = " and ".join(map(str, self.ports))
        lines = [
            f"# Connections to port {ports} go to port {self.to}, but for those of user {self.user}.",
            "# faultproxy intercept --remove takes it back.",
            *(_line(command) for command in (_routing(on=True, everywhere=True) if self.tproxy else ())),
            f"nft -f - <<'END'\n{self.ruleset}END",
        ]
        return "".join(f"{line}\n" for line in lines)

    def apply(self) -> None:
        """Carry it out, instead of what was applied before. Raises CannotIntercept; then all is as before."""
        _run(_CHECK, self.ruleset)
        added: list[list[str]] = []
        try:
            if self.tproxy:
                for add, delete in zip(_routing(on=True), _routing(on=False), strict=True):
                    if _is_new(add):
                        added.append(delete)
            _run(["nft", "-f", "-"], self.ruleset)
        except CannotIntercept:
            _try_each(added)
            raise
        if not self.tproxy:
            _try_each(_routing(on=False))

    def why_not(self) -> str | None:
        """Why this host does not take the rules, if it does not. Nothing is changed: the kernel only checks them."""
        try:
            _run(_CHECK, self.ruleset)
            if self.tproxy:
                _run(["ip", "rule", "list"])
                with socket.socket() as sock:
                    original_dst.set_transparent(sock, on=True)
        except CannotIntercept as error:
            return str(error)
        except OSError as error:
            return f"a listener may not be transparent here ({errno.errorcode.get(error.errno or 0, error)})"
        return None


def remove() -> None:
    """Take back whatever was applied, if anything was. Raises CannotIntercept."""
    _run(["nft", "-f", "-"], _CLEAR)
    _try_each(_routing(on=False))


def _line(command: list[str]) -> str:
    """A command of a script, which goes on without IPv6."""
    return shlex.join(command) + (" || true" if "-6" in command else "")


def _routing(*, on: bool, everywhere: bool = False) -> Iterator[list[str]]:
    """Deliver what is marked on this host; of both families, as far as the loopback device has them here."""
    verb = "add" if on else "delete"
    for family in ("-4", "-6"):
        if family == "-4" or everywhere or _has_ipv6():
            yield f"ip {family} rule {verb} fwmark {MARK:#x}/{ROUTED:#x} lookup {_ROUTES}".split()
            yield f"ip {family} route {verb} local default dev lo table {_ROUTES}".split()


def _has_ipv6() -> bool:
    """Whether the loopback device has an address of IPv6 (proc(5), /proc/net/if_inet6)."""
    try:
        return any(line.split()[-1] == "lo" for line in Path("/proc/net/if_inet6").read_text().splitlines())
    except OSError:
        return False


def _is_new(add: Sequence[str]) -> bool:
    """Run a command of ip that adds something; whether that was not there already. A rule could be there twice."""
    ip, family, what, *_ = add
    if what == "rule" and f"lookup {_ROUTES}" in _run([ip, family, what, "list"]):
        return False
    try:
        _run(add)
    except CannotIntercept as error:
        if "File exists" not in str(error):
            raise
        return False
    return True


def _try_each(commands: Iterable[Sequence[str]]) -> None:
    """Run commands that take something away, which may not be there."""
    for command in commands:
        with suppress(CannotIntercept):
            _run(command)


def _run(command: Sequence[str], stdin: str = "") -> str:
    """What a command prints. Raises CannotIntercept."""
    try:
        done = subprocess.run(  # noqa: S603  # a command of ours; no other thread is there
            command, input=stdin, capture_output=True, text=True, check=False, preexec_fn=_lend
        )
    except FileNotFoundError:
        package = {"nft": "nftables", "ip": "iproute2"}[command[0]]
        raise CannotIntercept(f"{command[0]} is not installed; it is in the package {package}") from None
    if done.returncode and "not permitted" in done.stderr:
        raise CannotIntercept(f"{command[0]} is not permitted to do so here; it takes CAP_NET_ADMIN")
    if done.returncode:
        complaint = done.stderr.strip().partition("\n")[0] or f"exit code {done.returncode}"
        raise CannotIntercept(f"{shlex.join(command)}: {complaint}")
    return done.stdout


def _lend() -> None:
    """Of the child alone: what is lent to a process, all that it executes would have."""
    with suppress(OSError):
        capabilities.lend()

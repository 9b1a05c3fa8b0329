"""What the host does not allow is found out by trying it."""

import errno
import os
import subprocess
import sys

import pytest

from faultproxy.connection import host
from faultproxy.faults.base import Need
from faultproxy.kernel import sock_diag, socket_filter
from tests.commands import PACKAGE
from tests.network import need_syn_interception

ASK = "from faultproxy.connection import host; from faultproxy.faults.base import Need; print(*map(host.why_missing, Need), sep='\\n')"


def test_nothing_is_lacking_with_all_privileges() -> None:
    """The trial is a real one, and leaves no descriptor open."""
    need_syn_interception()
    before = len(os.listdir("/proc/self/fd"))
    assert [host.why_missing(need) for need in Need] == [None] * len(Need)
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_privileges() -> None:
    """Each in the words that the log has for it."""
    need_syn_interception()
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-P", "-c", ASK]
    done = subprocess.run(command, check=True, env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True)
    reported = dict(zip(Need, done.stdout.splitlines(), strict=True))
    assert reported[Need.NOTHING] == "None"
    assert reported[Need.FILTER] in {"None", "a filter on a connection is not allowed here (EPERM)"}
    assert reported[Need.DESTROY] == "to destroy its socket takes CAP_NET_ADMIN (EPERM)"


@pytest.mark.parametrize("check", [socket_filter.check, sock_diag.check])
def test_what_is_turned_down_is_named_by_its_errno(check: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the kernel says."""

    def turn_down() -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    module = socket_filter if check is socket_filter.check else sock_diag
    monkeypatch.setattr(module, "check", turn_down)
    need = Need.FILTER if module is socket_filter else Need.DESTROY
    words = "a filter on a connection is not allowed here" if need is Need.FILTER else "this kernel destroys no sockets"
    assert host.why_missing(need) == f"{words} ({errno.errorcode[errno.EOPNOTSUPP]})"

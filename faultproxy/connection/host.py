"""What this host does not allow, found out by trying, and the words for it in the log."""

import errno
from types import MappingProxyType

from faultproxy.faults.base import Need
from faultproxy.kernel import sock_diag, socket_filter

_NO_ABORT = MappingProxyType(
    {
        errno.ENOENT: "the client is in another network namespace",
        errno.EPERM: "to destroy its socket takes CAP_NET_ADMIN",
        errno.EOPNOTSUPP: "this kernel destroys no sockets",
        errno.EAFNOSUPPORT: "a Unix socket cannot be destroyed",
    }
)


def why_missing(need: Need) -> str | None:
    """Why this host lacks what a fault needs, if it does. Whether SYNs can be intercepted, a listener finds out."""
    try:
        if need is Need.FILTER:
            socket_filter.check()
        elif need is Need.DESTROY:
            sock_diag.check()
    except OSError as error:
        return no_filter(error) if need is Need.FILTER else no_abort(error)
    return None


def no_filter(error: OSError) -> str:
    """Why a connection could not be filtered."""
    if error.errno == errno.EAFNOSUPPORT:
        return f"a Unix socket has no packets ({_name(error)})"
    return f"a filter on a connection is not allowed here ({_name(error)})"


def no_abort(error: OSError) -> str:
    """Why a client's socket could not be destroyed."""
    return f"{_NO_ABORT.get(error.errno or 0, 'its socket cannot be destroyed')} ({_name(error)})"


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))

"""refuse: nobody listens there."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Connect


class Refuse(Connect):
    """``connect()`` fails with ECONNREFUSED, as if the server were not running.

    An outage (a ``refuse`` with no condition but ``window``) shuts the listener, so the kernel itself
    refuses: exact. For some connections only, the connection is accepted and reset: ``degraded``, the
    client sees ECONNRESET on its first call after ``connect()``.
    """

    key: ClassVar[str] = "refuse"
    client_sees: ClassVar[ClientSees] = "ECONNREFUSED"

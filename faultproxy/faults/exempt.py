"""pass: this connection is left alone."""

from typing import ClassVar

from faultproxy.faults.base import Verdict


class Pass(Verdict):
    """The connection is left alone: the rules below are not read. Use it for a health checker."""

    key: ClassVar[str] = "pass"

"""The server name in a TLS ClientHello, of which nothing is decrypted.

RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3.
"""

_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 0x16, 0x01, 0x0000, 0x00
_RECORD_HEADER, _MESSAGE_HEADER, _RANDOM = 5, 4, 34


class NotYet(Exception):
    """The bytes so far may begin a ClientHello, but do not reach to the server name."""


def server_name(data: bytes) -> str | None:
    """The name that a client asks for, in lower case; None if it asks for none, or does not speak TLS.

    Raises NotYet. The handshake message may be split over several records.
    """
    hello = _Reader(_handshake(data))
    if hello.number(1) != _CLIENT_HELLO:
        return None
    body = _Reader(hello.take(hello.number(3)))
    body.take(_RANDOM)  # version and random
    for width in (1, 2, 1):  # session, cipher suites, compression methods
        body.take(body.number(width))
    if body.is_empty():
        return None
    extensions = _Reader(body.take(body.number(2)))
    while not extensions.is_empty():
        kind = extensions.number(2)
        extension = _Reader(extensions.take(extensions.number(2)))
        if kind == _SERVER_NAME:
            return _first_host(_Reader(extension.take(extension.number(2))))
    return None


def _handshake(data: bytes) -> bytes:
    """The payloads of the handshake records, joined; a record that has not come to its end counts as far as it goes."""
    joined = b""
    while data:
        if data[0] != _HANDSHAKE or (len(data) > 1 and data[1] != 3):
            break
        if len(data) < _RECORD_HEADER:
            break
        end = _RECORD_HEADER + int.from_bytes(data[3:_RECORD_HEADER])
        joined += data[_RECORD_HEADER:end]
        data = data[end:]
    if not joined and data and (data[0] != _HANDSHAKE or (len(data) > 1 and data[1] != 3)):
        return b"\x00"  # no TLS: what stands here is no ClientHello
    return joined


def _first_host(names: "_Reader") -> str | None:
    while not names.is_empty():
        kind, name = names.number(1), names.take(names.number(2))
        if kind == _HOST_NAME:
            return name.decode("ascii", "replace").lower()
    return None


class _Reader:
    """Takes bytes off the front; raises NotYet when they have run out."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def is_empty(self) -> bool:
        return not self._data

    def take(self, count: int) -> bytes:
        if len(self._data) < count:
            raise NotYet
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

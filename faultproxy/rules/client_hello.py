"""The server name in a TLS ClientHello, of which nothing is decrypted.

RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3.
"""

_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 0x16, 0x01, 0x0000, 0x00
_RECORD_HEADER, _RANDOM, _LARGEST_HELLO = 5, 34, 4 + 2**24


class NotYet(Exception):
    """The bytes so far may begin a ClientHello, but do not reach to the server name."""


def server_name(data: bytes) -> str | None:
    """The name that a client asks for, in lower case; None if it asks for none, or does not speak TLS.

    Raises NotYet. The handshake message may be split over several records.
    """
    try:
        return _name_in(_Reader(_handshake(data), _LARGEST_HELLO))
    except _Malformed:
        return None


def _name_in(hello: "_Reader") -> str | None:
    if hello.number(1) != _CLIENT_HELLO:
        return None
    body = hello.part(3)
    body.skip(_RANDOM)  # version and random
    for width in (1, 2, 1):  # session, cipher suites, compression methods
        body.part(width)
    if body.is_empty():
        return None
    extensions = body.part(2)
    while not extensions.is_empty():
        kind, extension = extensions.number(2), extensions.part(2)
        if kind == _SERVER_NAME:
            return _first_host(extension.part(2))
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
        kind, name = names.number(1), names.part(2)
        if kind == _HOST_NAME:
            return name.rest().decode("ascii", "replace").lower()
    return None


class _Malformed(Exception):
    """A part is longer than the whole."""


class _Reader:
    """Reads a part of so many bytes, of which the last may still have to come; raises NotYet when they are needed."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._size = size

    def is_empty(self) -> bool:
        return not self._size

    def skip(self, count: int) -> None:
        if count > self._size:
            raise _Malformed
        self._data, self._size = self._data[count:], self._size - count

    def number(self, width: int) -> int:
        number = self._data[:width]
        self.skip(width)
        if len(number) < width:
            raise NotYet
        return int.from_bytes(number)

    def part(self, width: int) -> "_Reader":
        size = self.number(width)
        part = _Reader(self._data[:size], size)
        self.skip(size)
        return part

    def rest(self) -> bytes:
        if len(self._data) < self._size:
            raise NotYet
        return self._data

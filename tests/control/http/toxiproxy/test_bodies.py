"""Bodies as Go's decoder takes them."""

import pytest

from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.control.http.toxiproxy.bodies import ProxyBody, proxies, proxy, read


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("{}", ProxyBody()),
        ("null", ProxyBody()),
        ('{"name": "a", "listen": "", "upstream": "b:1", "enabled": false}', ProxyBody("a", "", "b:1", False)),
        ('{"NAME": "a", "Enabled": true}', ProxyBody("a", enabled=True)),
        ('{"name": null, "enabled": null, "toxics": null}', ProxyBody()),
        ('{"name": "a", "Name": "b"}', ProxyBody("b")),
        ('{"name": "a", "Logger": {}, "x": [1]}', ProxyBody("a")),
        ('{"toxics": [{"type": "noop"}]}', ProxyBody(toxics=[{"type": "noop"}])),
        (' {"name": "a"}\r\n', ProxyBody("a")),
    ],
)
def test_proxy(text: str, body: ProxyBody) -> None:
    """Keys in any case, null for what is not said, and what nobody knows ignored."""
    assert proxy(read(text.encode())) == body


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "bad request body: EOF"),
        (" \n", "bad request body: EOF"),
        ("{", "bad request body: "),
        ("[" * 100_000, "bad request body: "),
        ('{"name": "\\ud800"}', "bad request body: "),
        ("NaN", "bad request body: "),
        ("[]", "bad request body: a proxy is an object"),
        ('"a"', "bad request body: a proxy is an object"),
        ('{"name": 1}', "bad request body: name must be a string"),
        ('{"listen": {}}', "bad request body: listen must be a string"),
        ('{"upstream": false}', "bad request body: upstream must be a string"),
        ('{"enabled": "true"}', "bad request body: enabled must be true or false"),
        ('{"enabled": 1}', "bad request body: enabled must be true or false"),
        ('{"toxics": {}}', "bad request body: toxics must be an array"),
    ],
)
def test_bad_proxy(text: str, says: str) -> None:
    """What is wrong is said, with the status 400."""
    with pytest.raises(Refused) as raised:
        proxy(read(text.encode()))
    assert raised.value.status == 400
    assert raised.value.message.startswith(says)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "bad request body: an array of proxies is due"),
        ([1], "bad request body: a proxy is an object"),
        ([{"name": "a", "upstream": "b:1"}, {"upstream": "b:1"}], "missing required field: name at proxy 2"),
        ([{"name": "a"}], "missing required field: upstream at proxy 1"),
        ([{"name": "", "upstream": ""}], "missing required field: name at proxy 1"),
    ],
)
def test_bad_proxies(value: object, says: str) -> None:
    """The first that lacks something is named by its number."""
    with pytest.raises(Refused) as raised:
        proxies(value)
    assert (raised.value.status, raised.value.message) == (400, says)


def test_proxies() -> None:
    """None is no proxies, as an empty array is."""
    assert proxies(None) == ()
    assert proxies([]) == []
    assert proxies([{"name": "a", "upstream": "b:1"}]) == [ProxyBody("a", None, "b:1")]

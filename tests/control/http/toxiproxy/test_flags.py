"""The flags of Toxiproxy's server, in Go's syntax."""

import pytest

from faultproxy.control.http.toxiproxy.flags import BadFlag, Flags, HelpAsked, log_level, parse


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("", Flags()),
        ("-host=0.0.0.0", Flags(host="0.0.0.0")),
        ("-host 0.0.0.0 -port 1234", Flags(host="0.0.0.0", port="1234")),
        ("--host=:: --port 1", Flags(host="::", port="1")),
        ("-host=0.0.0.0 -config=/tmp/a=b.json", Flags(host="0.0.0.0", config="/tmp/a=b.json")),
        ("-host=a -host=b", Flags(host="b")),
        ("-host=", Flags(host="")),
        ("-config -host", Flags(config="-host")),
        ("-seed 7", Flags(seed=7)),
        ("-seed=0x10", Flags(seed=16)),
        ("-seed=-1", Flags(seed=2**63 - 1)),
        ("-proxy-metrics --runtime-metrics", Flags(proxy_metrics=True, runtime_metrics=True)),
        ("-proxy-metrics=false -runtime-metrics=T", Flags(runtime_metrics=True)),
        ("-version", Flags(version=True)),
        ("-proxy-metrics false -port 1", Flags(proxy_metrics=True)),
        ("-port 1 -- -port 2", Flags(port="1")),
        ("-port 1 - -port 2", Flags(port="1")),
    ],
)
def test_flags(line: str, flags: Flags) -> None:
    """One dash or two, a value behind = or in the next argument; the first argument that is no flag ends them."""
    assert parse(line.split()) == flags


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-x", "flag provided but not defined: -x"),
        ("--hosts=a", "flag provided but not defined: -hosts"),
        ("-proxy_metrics", "flag provided but not defined: -proxy_metrics"),
        ("-port", "flag needs an argument: -port"),
        ("-=x", "bad flag syntax: -=x"),
        ("---port=1", "bad flag syntax: ---port=1"),
        ("-version=yes", 'invalid boolean value "yes" for -version: write true or false'),
        ("-seed=x", 'invalid value "x" for flag -seed: write a whole number of at most 64 bits'),
        ("-seed=9223372036854775808", 'invalid value "9223372036854775808" for flag -seed'),
    ],
)
def test_bad_flags(line: str, says: str) -> None:
    """What Go refuses is refused, and named."""
    with pytest.raises(BadFlag) as raised:
        parse(line.split())
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize("flag", ["-h", "--h", "-help", "--help"])
def test_help(flag: str) -> None:
    """Help is no mistake."""
    with pytest.raises(HelpAsked):
        parse([flag])


@pytest.mark.parametrize(
    ("value", "level"),
    [("trace", "debug"), ("DEBUG", "debug"), ("info", "info"), ("", "info"), ("warn", "warning"), ("panic", "error")],
)
def test_log_level(value: str, level: str) -> None:
    """The levels of Toxiproxy's log, as the nearest of ours."""
    assert log_level({"LOG_LEVEL": value}) == (level, None)


def test_log_level_not_set() -> None:
    """Unset says nothing; what is no level is named, and nothing else."""
    assert log_level({}) == (None, None)
    assert log_level({"LOG_LEVEL": "loud"})[0] is None
    assert '"loud"' in (log_level({"LOG_LEVEL": "loud"})[1] or "")

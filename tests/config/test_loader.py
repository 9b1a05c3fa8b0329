import io
import os
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faultproxy.config.loader import ConfigError, build, load, parse
from faultproxy.config.schema import Config
from faultproxy.faults.close import Close
from faultproxy.rules.rule import BaseRule

FIXED = settings(derandomize=True, deadline=None)

GOOD = """\
version: 1
seed: 42
log: {format: json, level: info}
drain: 5s
proxies:
  redis:
    listen: 127.0.0.1:16379
    upstream: redis:6379
    dial_timeout: 5s
    enabled: true
    rules:
      - name: cold start
        when: {first: 3}
        refuse:
      - name: cut mid-reply
        when: {client: 10.0.0.0/8, probability: 10%}
        reset: {after: 4KiB}
      - name: restart
        when: {window: {from: 30s, to: 45s, every: 1m}}
        live: true
        close:
"""

HEAD = "proxies:\n  p:\n    listen: :1\n    upstream: b:2\n"
JARGON = ("Input", "instance", "dictionary", "pydantic", "Traceback", "string", "integer", "boolean", "None", "tuple")


def errors_of(text: str | bytes) -> tuple[str, ...]:
    """The errors of a text, without its name; it must have some."""
    with pytest.raises(ConfigError) as error:
        parse(text if isinstance(text, bytes) else text.encode(), "f")
    return tuple(line.removeprefix("f:") for line in error.value.errors)


CORPUS = Path(__file__).parent / "corpus"


def corpus(name: str) -> list[tuple[str, str]]:
    """Bad texts, each with its one error: blocks apart by an empty line, the error behind an arrow."""
    blocks = (CORPUS / name).read_text().removesuffix("\n").split("\n\n")
    return [(text, error) for text, _, error in (block.partition("\n-> ") for block in blocks)]


def test_good_file() -> None:
    """A good file is its Config, quantities as plain numbers."""
    config = parse(GOOD.encode(), "f")
    redis = config.proxies["redis"]
    assert (config.seed, config.drain, str(redis.listen), len(redis.rules)) == (42, 5.0, "127.0.0.1:16379", 3)


def test_byte_order_mark() -> None:
    """A byte order mark, as some editors write it, is not part of the text."""
    assert parse(b"\xef\xbb\xbf" + GOOD.encode(), "f") == parse(GOOD.encode(), "f")


def test_empty_rules_are_none() -> None:
    """A ``rules:`` with nothing below it means no rules."""
    assert parse(f"{HEAD}    rules:\n".encode(), "f").proxies["p"].rules == ()


@pytest.mark.parametrize(("text", "error"), corpus("file.txt"))
def test_bad_file(text: str, error: str) -> None:
    """A mistake in a file is reported at its place, alone."""
    assert errors_of(text) == (error,)


@pytest.mark.parametrize(("text", "error"), corpus("proxy.txt"))
def test_bad_proxy(text: str, error: str) -> None:
    """A mistake in a proxy is reported at its place, alone."""
    assert errors_of(HEAD + text) == (error,)


@pytest.mark.parametrize(("text", "error"), corpus("rule.txt"))
def test_bad_rule(text: str, error: str) -> None:
    """A mistake in a rule is reported at its place, alone."""
    assert errors_of(f"{HEAD}    rules:\n      - {text}") == (error,)


def test_not_utf8() -> None:
    """A byte that is not UTF-8 is reported by its number and its place."""
    reason = "byte 8 of the file, 0xff, is not UTF-8; save the file as UTF-8"
    assert errors_of("a: é\nb".encode() + b"\xff") == (f"2:2: {reason}",)


@pytest.mark.parametrize("text", ["", "a", "é", "é€", "aé€", "é\n€", "𝄞"])
def test_not_utf8_behind_a_byte_order_mark(text: str) -> None:
    """A byte order mark takes no column, and the number of the byte counts it."""
    before = b"\xef\xbb\xbf" + text.encode()
    (error,) = errors_of(before + b"\xff")
    *_, last = text.split("\n")
    place = f"{text.count(chr(10)) + 1}:{len(last) + 1}"
    assert error == f"{place}: byte {len(before) + 1} of the file, 0xff, is not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize(
    "address", ["localhost:80", "my_host-1.example.com.:80", "[fe80::1%eth0]:80", "[::1]:80", "1a.b:65535"]
)
def test_good_address(address: str) -> None:
    """Names, addresses and zones can be listened on and dialled."""
    config = parse(
        f"proxies: {{p: {{listen: ':1', upstream: '{address}'}}, q: {{listen: '{address}', upstream: 'x:1'}}}}".encode(),
        "f",
    )
    assert str(config.proxies["p"].upstream) == str(config.proxies["q"].listen) == address


@pytest.mark.parametrize("address", ["[::1]:80", "[2001:db8::1]:80"])
@pytest.mark.parametrize(
    "text", ["proxies:\n  p:\n    upstream: {}\n", "proxies: {{p: {{listen: {}, upstream: 'b:2'}}}}"]
)
def test_an_address_that_asks_for_quotes(text: str, address: str) -> None:
    """Brackets begin a list in YAML, so an IPv6 address is reported with the quotes that it needs."""
    (error,) = errors_of(text.format(address))
    assert f'quote the address: "{address}"' in error


def test_unix_sockets() -> None:
    """A proxy may listen at a path, which no other may, and not dial itself there."""
    head = "proxies:\n  a: {listen: 'unix:/run/a', upstream: 'x:1'}\n"
    assert str(parse(head.encode(), "f").proxies["a"].listen) == "unix:/run/a"
    reason = '"unix:/run/a" is where proxy a listens already; give this one a path of its own'
    assert errors_of(f"{head}  b: {{listen: 'unix:/run/a', upstream: 'x:1'}}\n") == (
        f"3:15: proxies.b.listen: {reason}",
    )
    (error,) = errors_of("proxies:\n  a: {listen: 'unix:/run/a', upstream: 'unix:/run/a'}\n")
    assert '"unix:/run/a" is where this proxy itself listens' in error


def test_all_errors_at_once() -> None:
    """Every mistake is reported, from top to bottom, whoever found it."""
    text = """\
sead: 42
log: {format: jsn}
proxies:
  ..:
    listen: ":1"
    listen: ":2"
    upstream: b:2
    rules:
      - {name: a, refuse: , reset: }
      - {name: a, close: {after: x}}
"""
    assert errors_of(text) == (
        '1:1: sead: "sead" is not a key here; write seed',
        '2:15: log.format: "jsn" is not one of the choices; write json or console',
        '4:3: proxies."..": ".." cannot name a proxy; write 1 to 200 characters of one line, no space first or last, and not . or ..',
        '6:5: proxies."..".listen: "listen" stands twice in one mapping, first at line 5, column 5; keep one',
        '9:9: proxies."..".rules[0]: refuse comes before there is a connection, so reset cannot be injected; use two rules',
        '10:16: proxies."..".rules[1].name: "a" already names the rule at line 9; give this one another name',
        '10:34: proxies."..".rules[1].close.after: "x" is neither a size nor a duration; write 4KiB or 2s',
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [(":1", ":1"), ("127.0.0.1:1", ":1"), (":1", "127.0.0.1:1"), ("0.0.0.0:1", "10.0.0.1:1"), ("[::1]:1", "[0::1]:1")],
)
def test_same_place_to_listen(one: str, other: str) -> None:
    """Two proxies cannot have one place to listen, nor one of them a part of the other's."""
    text = f"proxies:\n  a: {{listen: '{one}', upstream: 'x:1'}}\n  b: {{listen: '{other}', upstream: 'x:1'}}\n"
    reason = f'"{other}" is where proxy a listens already; give this one a port of its own'
    assert errors_of(text) == (f"3:15: proxies.b.listen: {reason}",)


@pytest.mark.parametrize(
    ("one", "other"), [(":0", ":0"), ("127.0.0.1:1", "127.0.0.2:1"), ("0.0.0.0:1", "[::1]:1"), (":1", ":2")]
)
def test_places_apart(one: str, other: str) -> None:
    """Proxies may share a port on different addresses, and port 0 is a free one each time."""
    text = f"proxies:\n  a: {{listen: '{one}', upstream: 'x:1'}}\n  b: {{listen: '{other}', upstream: 'x:1'}}\n"
    assert len(parse(text.encode(), "f").proxies) == 2


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("127.0.0.1:1", "localhost:1"),
        ("localhost:1", "127.0.0.1:1"),
        ("LocalHost:1", "localhost:1"),
        ("[::1]:1", "localhost:1"),
        (":1", "127.8.9.10:1"),
        (":1", "[::1]:1"),
        (":1", "localhost:1"),
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("127.0.0.1:1", "0.0.0.0:1"),
        ("[::]:1", "[::1]:1"),
        ("10.0.0.1:1", "10.0.0.1:1"),
        ("redis:1", "Redis:1"),
    ],
)
def test_a_proxy_that_dials_itself(listen: str, upstream: str) -> None:
    """One client would take every descriptor there is, so it is an error where it can be seen."""
    text = f"proxies:\n  a: {{listen: '{listen}', upstream: '{upstream}'}}\n"
    reason = f'"{upstream}" is where this proxy itself listens; write the address of the server'
    assert errors_of(text) == (f"2:{len(listen) + 29}: proxies.a.upstream: {reason}",)


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        ("127.0.0.1:1", "127.0.0.1:2"),
        ("127.0.0.1:1", "127.0.0.2:1"),
        ("0.0.0.0:1", "[::1]:1"),
        ("[::]:1", "127.0.0.1:1"),
        (":6379", "redis:6379"),
        (":1", "10.0.0.1:1"),
        ("127.0.0.1:0", "127.0.0.1:1"),
    ],
)
def test_a_proxy_that_dials_another_host(listen: str, upstream: str) -> None:
    """One port on two hosts is what a sidecar has; what a name stands for is not looked up."""
    assert len(parse(f"proxies: {{a: {{listen: '{listen}', upstream: '{upstream}'}}}}".encode(), "f").proxies) == 1


def test_a_circle_of_proxies() -> None:
    """It is reported once, at the first of them, with the way round; a proxy that leads into it is none of it."""
    text = """\
proxies:
  into: {listen: ":4", upstream: "localhost:1"}
  a: {listen: ":1", upstream: "127.0.0.1:2"}
  b: {listen: "127.0.0.1:2", upstream: "[::1]:3"}
  c: {listen: ":3", upstream: "localhost:1"}
  out: {listen: ":5", upstream: "localhost:6"}
  server: {listen: ":6", upstream: "redis:6"}
"""
    where = "proxy b listens, and a -> b -> c -> a is a circle"
    assert errors_of(text) == (
        f'3:31: proxies.a.upstream: "127.0.0.1:2" is where {where}; write the address of the server',
    )


def test_unusual_files(tmp_path: Path) -> None:
    """What is no regular file of at most 1 MiB is refused at once, never waited for."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "big").write_bytes(b"#" * (2**20 + 1))
    (tmp_path / "full").write_bytes(b"#" * 2**20)
    reasons = {
        tmp_path / "none": "the file does not exist; check its name",
        tmp_path: "the file is a directory; name a file in it",
        tmp_path / "fifo": "the file is a pipe or a device; write the configuration to a regular file",
        Path("/dev/zero"): "the file is a pipe or a device; write the configuration to a regular file",
        tmp_path / "big": "the file is larger than 1 MiB; write a smaller one",
        tmp_path / "full": "the file is empty; start with proxies:",
    }
    for path, reason in reasons.items():
        with pytest.raises(ConfigError) as error:
            load(path)
        assert error.value.errors == (f"{path}:1:1: {reason}",)


def test_load(tmp_path: Path) -> None:
    """A file is read and validated; its errors carry its name."""
    file = tmp_path / "f.yaml"
    file.write_text(GOOD)
    assert load(file) == parse(GOOD.encode(), "f")
    file.write_text("proxies: 3")
    with pytest.raises(ConfigError, match=f"^{file}:1:10: proxies: "):
        load(file)


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}    rules: [{{name: r, refuse: , when: {{nth: [{'a,' * 190_000}]}}}}]",
        f"{HEAD}    rules:\n" + "      -\n" * 100_000,
        f"{HEAD}    rules:\n" + "      - {name: r, close: }\n" * 33_000,
    ],
    ids=["values", "rules", "names"],
)
def test_endless_mistakes(text: str) -> None:
    """A megabyte of mistakes ends within seconds: a hundred are reported, the rest counted."""
    start = time.process_time()
    errors = errors_of(text)
    assert time.process_time() - start < 10
    assert len(errors) == 101
    assert errors[-1].startswith("... and ")


PIECES = (
    *(
        "",
        "~",
        "true",
        "on",
        "0",
        "-1",
        "010",
        "1.5",
        "1e999",
        "9" * 5000,
        "4KiB",
        "2s",
        "10%",
        "text",
        "'a b'",
        "[]",
        "{}",
    ),
    *(
        "[a, 1]",
        "{a: 1}",
        "{1: a}",
        "!x y",
        "&a b",
        "*a",
        ":80",
        "a:80",
        "{bytes: 4}",
        "{from: 1s}",
        "::1",
        "'",
        "[",
        "@",
    ),
)


@FIXED
@given(
    st.lists(st.sampled_from(GOOD.splitlines()), max_size=20),
    st.integers(0, 21),
    st.sampled_from(["listen", "after", "window", "client", "name", "rules", "log", "seed", "x", "1", "? [a]\n", "<<"]),
    st.sampled_from(PIECES),
)
@example(GOOD.splitlines(), 21, "rules", "*a")
def test_any_text(lines: list[str], at: int, key: str, value: str) -> None:
    """Whatever a file holds, it is a Config or lines of plain words; never another exception."""
    text = "\n".join([*GOOD.splitlines()[:at], *lines, f"{' ' * (at % 12)}{key}: {value}"])
    try:
        parse(text.encode(), "f")
    except ConfigError as error:
        for line in error.errors:
            assert line.startswith("f:")
            assert line.isprintable()
            assert not any(word in line for word in JARGON)


@FIXED
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Bytes that are no configuration are refused with a place."""
    with pytest.raises(ConfigError, match=r"^f:\d+:\d+: "):
        parse(data, "f")


def parse_with(rule: str, **environment: str) -> Config:
    """A proxy with one rule, and what its variables hold."""
    return parse(f"{HEAD}    rules:\n      - {rule}\n".encode(), "f", environment)


def rules_of(config: Config) -> tuple[BaseRule, ...]:
    rules: tuple[BaseRule, ...] = config.proxies["p"].rules
    return rules


def test_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file takes its variables from the environment; in quotes or not, alone or among other text."""
    monkeypatch.setenv("PORT", "16379")
    monkeypatch.setenv("ON", "false")
    file = tmp_path / "f.yaml"
    file.write_text('proxies: {p: {listen: "127.0.0.1:${PORT}", upstream: "${SERVER:-redis:6379}", enabled: "${ON}"}}')
    proxy = load(file).proxies["p"]
    assert (str(proxy.listen), str(proxy.upstream), proxy.enabled) == ("127.0.0.1:16379", "redis:6379", False)


def test_the_type_of_a_variable() -> None:
    """A variable alone is read as a plain value is, and is text where only text will do."""
    (rule,) = rules_of(parse_with('{name: "${N}", when: {first: "${N}"}, close: {after: "${N}s"}}', N="3"))
    assert isinstance(rule.faults[0], Close)
    assert (rule.name, rule.dump()["when"], str(rule.faults[0].after)) == ("3", {"first": 3}, "3s")


def test_a_variable_holds_no_yaml() -> None:
    """What it holds is one value, whatever it looks like; it cannot add keys."""
    name = "r, refuse: , x: {a: b}\n- &y !!str # no"
    with pytest.raises(ConfigError, match="holds a control character"):
        parse_with('{name: "${N}", close: }', N=name)
    (rule,) = rules_of(parse_with('{name: "${N}", close: }', N="a: {b: c}"))
    assert rule.name == "a: {b: c}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "{name: r, close: {after: '${X}s'}}",
            "6:34: proxies.p.rules[0].close.after: ${X} is not set; set X, or write ",
        ),
        ("{name: r, when: {first: '${EMPTY}'}, close: }", "6:33: proxies.p.rules[0].when.first: is empty; "),
        (
            "{name: r, when: {first: '${N}'}, close: }",
            '6:33: proxies.p.rules[0].when.first: "x" is not a whole number; ',
        ),
        ("{name: r, '${N}': r, close: }", '6:19: proxies.p.rules[0]."${N}": "${N}" is not a key here; '),
    ],
)
def test_bad_variables(text: str, error: str) -> None:
    """They are reported at their place; keys hold no variables."""
    with pytest.raises(ConfigError) as raised:
        parse_with(text, N="x", EMPTY="")
    assert raised.value.errors[0].removeprefix("f:").startswith(error)


def test_variables_do_not_blow_a_file_up() -> None:
    """A long variable that stands often is refused before it costs anything."""
    text = "x-a: [" + "'${LONG}', " * 1000 + "]\n"
    with pytest.raises(ConfigError, match="is where variables make the file larger than 1 MiB"):
        parse(text.encode(), "f", {"LONG": "n" * 100_000})


def test_keys_to_ignore() -> None:
    """Top-level keys that begin with x- are a place for anchors; elsewhere they are no keys."""
    text = f"x-rules: &rules [{{name: r, refuse: }}]\nx-none:\n{HEAD}    rules: *rules\n"
    assert [rule.name for rule in rules_of(parse(text.encode(), "f"))] == ["r"]
    assert build({"x-a": 3, "proxies": {"p": {"listen": ":1", "upstream": "b:2"}}}).proxies.keys() == {"p"}
    assert errors_of(f"{HEAD}    x-a: 3\n")[0].startswith('5:5: proxies.p.x-a: "x-a" is not a key here')


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` is standard input, with the environment's variables, and no more than 1 MiB of it."""
    monkeypatch.setenv("PORT", "1")
    for data, error in (
        (b"proxies: {p: {listen: ':${PORT}', upstream: 'b:2'}}", ""),
        (b"#" * (2**20 + 1), "<stdin>:1:1: the file is larger than 1 MiB; write a smaller one"),
        (b"", "<stdin>:1:1: the file is empty; start with proxies:"),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        try:
            assert str(load(Path("-")).proxies["p"].listen) == ":1"
        except ConfigError as raised:
            assert raised.errors == (error,)

import pytest

from faultproxy.config.yaml_tree import Node, Place, Unreadable, read_tree


def plain(text: str) -> object:
    node, problems = read_tree(text)
    assert not problems
    return node.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", "Null"),
        ("true", True), ("false", False), ("True", "True"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("n", "n"),
        ("0", 0), ("42", 42), ("-7", -7), ("010", "010"), ("0o10", "0o10"), ("0x1F", "0x1F"), ("0b1", "0b1"),
        ("1_000", "1_000"), ("+1", "+1"), ("5432:54", "5432:54"), ("1:30", "1:30"), ("٤", "٤"),
        ("0.5", 0.5), ("1e-3", 0.001), (".5", ".5"), ("1.", "1."), (".inf", ".inf"), (".nan", ".nan"),
        ("1e999", "1e999"), ("-1.5E+2", -150.0),
        ("2024-01-01", "2024-01-01"), ("=", "="), ('"42"', "42"), ("'true'", "true"), ('""', ""),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    """A scalar is null, true, false or a plain decimal number; all else is text, whatever YAML 1.1 thinks."""
    found = plain(f"key: {text}")
    assert found == {"key": value}
    assert type(found["key"]) is type(value)


@pytest.mark.parametrize("digits", ["9" * 101, "9" * 5000, "9" * 5000 + ".0"])
def test_huge_number_is_text(digits: str) -> None:
    """A number of more digits than any quantity has is text, not an exception."""
    assert plain(f"key: {digits}") == {"key": digits}


def test_places() -> None:
    """Each value and each key knows its line and column, from 1."""
    root, _ = read_tree("a: 1\nb:\n  - é: [x, y]\n")
    assert root.keys == {"a": Place(1, 1), "b": Place(2, 1)}
    assert root.nearest(("b", 0, "é", 1))[0].place == Place(3, 12)


def test_nearest() -> None:
    """A path that goes deeper than the text leads to the last node on its way."""
    root, _ = read_tree("a: {b: text}")
    node, path = root.nearest(("a", "b", "bytes", 0))
    assert (node.value, path) == ("text", ("a", "b"))


def test_alias() -> None:
    """An alias is what its anchor named, at the place of the anchor."""
    root, problems = read_tree("a: &x {b: 1}\nc: *x")
    assert not problems
    assert root.plain() == {"a": {"b": 1}, "c": {"b": 1}}
    assert root.nearest(("c", "b"))[0].place == Place(1, 11)


def test_walk() -> None:
    """A walk visits every node with its path, from top to bottom."""
    root, _ = read_tree("a: [1, {b: 2}]")
    assert [path for path, _ in root.walk()] == [(), ("a",), ("a", 0), ("a", 1), ("a", 1, "b")]


def test_as_deep_as_allowed() -> None:
    """64 levels can be read."""
    node: Node | None = read_tree("[" * 64 + "]" * 64)[0]
    for _ in range(63):
        assert node is not None
        node = node.child(0)
    assert node is not None
    assert node.value == []


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("[" * 100_000, (1, 66), "is nested deeper than 64 levels; write it flatter"),
        ("{a: " * 100_000, (1, 258), "is nested deeper than 64 levels; write it flatter"),
        ("é: [1,\n" + " [" * 100_000, (2, 128), "is nested deeper than 64 levels; write it flatter"),
        ("? " * 100_000, (1, 131), "is nested deeper than 64 levels; write it flatter"),
        ("- " * 100_000, (1, 131), "is nested deeper than 64 levels; write it flatter"),
        (f"a: &a {'[' * 40}{']' * 40}\nb: {'[' * 40}*a", (2, 44), "is nested deeper than 64 levels; write it flatter"),
        ("a: &a 1\nb: [" + "*a, " * 101 + "]", (2, 405), "has more than 100 aliases; write out what they stand for"),
        ("a: &a [1, *a]", (1, 11), "*a stands for what holds it; write out what is meant"),
        ("a: *b", (1, 4), "*b stands for nothing; write &b before it"),
        ("a: 1\n--- \nb: 2", (2, 1), "a second document starts here; write one document only"),
        ("", (1, 1), "the file is empty; start with proxies:"),
        ("# nothing", (1, 1), "the file is empty; start with proxies:"),
        ("a: 1\nb: \x00", (2, 4), "character '\\x00' cannot stand in YAML; write it as an escape in quotes"),
    ],
)  # fmt: skip
def test_unreadable(text: str, place: Place, message: str) -> None:
    """What cannot be read, or would cost too much to read, is refused at its place."""
    with pytest.raises(Unreadable) as error:
        read_tree(text)
    assert (error.value.problem.place, error.value.problem.text) == (place, message)


def test_billion_laughs() -> None:
    """Aliases of aliases are counted as what they stand for, and refused before they are expanded."""
    text = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{','.join([f'*a{i}'] * 10)}]\n" for i in range(9))
    with pytest.raises(Unreadable, match="passes 200000 values"):
        read_tree(text)

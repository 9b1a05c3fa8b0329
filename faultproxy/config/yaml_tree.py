"""YAML text to a tree of values, each with its place.

Only the unsurprising part of YAML: mappings with text keys, lists, and scalars that are null, true, false, a decimal
number, or else text. Built from libyaml's events one at a time, so that a hostile text is refused before it costs
anything: its depth, its aliases and its size are all judged on the way.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count as count_from
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

import yaml
from yaml._yaml import Mark as CMark

from faultproxy.config.variables import MOST_TEXT, CannotExpand, expand, has_variables, is_variable
from faultproxy.units import quote

DEEPEST = 64
MOST_ALIASES = 100
MOST_VALUES = 200_000

_TOO_DEEP = f"is nested deeper than {DEEPEST} levels; write it flatter"
_LOOK_BACK = 500

_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,99})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IPV6 = re.compile(r"(?<![\"'])\[[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*\](?::[0-9]+)?(?![\"'])")
_HINTS = (
    ("cannot start any token", "indent with spaces, not tabs, and quote text that starts with one of @ ` %"),
    ("mapping values are not allowed", 'quote text that holds ": ", and indent keys of one mapping alike'),
    ("did not find expected ',' or", "close the bracket, and put commas between what stands in it"),
    ("unexpected end of stream", "close the quote"),
)

_NOTHING_SET: Mapping[str, str] = MappingProxyType({})

Path = tuple[str | int, ...]
Scalar = str | int | float | bool | None


class Place(NamedTuple):
    """Where in a file, both from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """What is wrong at a place and a path, and what would be right."""

    place: Place
    path: Path
    text: str


class Unreadable(Exception):
    """The text is no YAML, or not the part of it that is read here; nothing behind this place was looked at."""

    def __init__(self, place: Place, path: Path, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(place, path, text)


class _ParserLimit(Exception):
    """The parser goes no deeper: libyaml stops a thousand levels deep, in some releases."""

    def __init__(self, place: Place, index: int) -> None:
        super().__init__(place)
        self.place = place
        self.index = index


@dataclass(slots=True)
class Node:
    """A value and its place; a mapping knows the places of its keys too. ``source`` is a scalar's own text.

    ``is_variable``: that text is what a variable holds, and nothing else, so that it may be text or what it looks like.
    """

    place: Place
    value: "Scalar | list[Node] | dict[str, Node]"
    source: str = ""
    is_variable: bool = False
    keys: dict[str, Place] = field(default_factory=dict)

    def plain(self) -> object:
        """The value without the places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, part: str | int) -> "Node | None":
        """What stands under a key, or at a position of a list; None if nothing does."""
        if isinstance(self.value, dict):
            return self.value.get(part) if isinstance(part, str) else None
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            return self.value[part]
        return None

    def nearest(self, path: Path) -> "tuple[Node, Path]":
        """The node that a path leads to, or the last on the way there, and the path to it."""
        node = self
        for depth, part in enumerate(path):
            child = node.child(part)
            if child is None:
                return node, path[:depth]
            node = child
        return node, path

    def walk(self, path: Path = ()) -> "Iterator[tuple[Path, Node]]":
        """This node and all below it, each with its path."""
        yield path, self
        if isinstance(self.value, dict):
            for key, child in self.value.items():
                yield from child.walk((*path, key))
        elif isinstance(self.value, list):
            for index, child in enumerate(self.value):
                yield from child.walk((*path, index))


def read_tree(text: str, environment: Mapping[str, str] = _NOTHING_SET) -> tuple[Node, list[Problem]]:
    """The tree of a text, and what is wrong in it that did not keep the rest from being read.

    Variables in values (not in keys) are expanded from ``environment``, after the YAML was parsed: what they hold
    never becomes a key, a list or a mapping. A plain value that holds one is read as the plain value that it becomes,
    and so is a value that is one variable alone, in quotes or not: flow style asks for the quotes. Raises Unreadable.
    """
    strange = _UNPRINTABLE.search(text)
    if strange:
        before = text[: strange.start()]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise Unreadable(place, (), f"character {strange[0]!a} cannot stand in YAML; write it as an escape in quotes")
    try:
        return _Builder(text, environment).build()
    except _ParserLimit as limit:
        # libyaml looks ahead by 1,024 characters, and may reach a limit of its own there. Ours comes before it.
        with suppress(_ParserLimit):
            _Builder(text[: max(0, limit.index - _LOOK_BACK)], environment).build()
        raise Unreadable(limit.place, (), _TOO_DEEP) from None


def plant(value: object) -> Node:
    """The tree of a value made of mappings, lists, tuples and scalars, on no line: places say what comes first.

    Trees in it stay as they are.
    """
    return _plant(value, count_from())


def _plant(value: object, numbers: Iterator[int]) -> Node:
    if isinstance(value, Node):
        return value
    place = Place(0, next(numbers))
    if isinstance(value, Mapping):
        children = {str(key): _plant(child, numbers) for key, child in value.items()}
        return Node(place, children, keys={key: child.place for key, child in children.items()})
    if isinstance(value, list | tuple):
        return Node(place, [_plant(child, numbers) for child in value])
    scalar = value if value is None or isinstance(value, int | float) else str(value)
    return Node(place, scalar, str(value))


class _Builder:
    """Reads one document, a method for each kind of node; recursion is as deep as the text may be."""

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        self._text = text
        self._parser = yaml.CSafeLoader(text)
        self._environment = environment
        self._expanded = 0
        self._anchors: dict[str, Node | None] = {}  # None while the node is being read
        self._aliases = 0
        self._values = 0
        self._problems: list[Problem] = []

    def build(self) -> tuple[Node, list[Problem]]:
        self._next(())
        start = self._next(())
        if isinstance(start, yaml.StreamEndEvent):
            raise Unreadable(Place(1, 1), (), "the file is empty; start with proxies:")
        root = self._node(self._next(()), ())
        self._next(())
        end = self._next(())
        if not isinstance(end, yaml.StreamEndEvent):
            raise Unreadable(_place(end), (), "a second document starts here; write one document only")
        return root, self._problems

    def _next(self, path: Path) -> yaml.Event:
        try:
            event = self._parser.get_event()
        except yaml.MarkedYAMLError as error:
            if "nesting depth" in (error.problem or "") and error.problem_mark is not None:
                raise _ParserLimit(_at(error.problem_mark), error.problem_mark.index) from None
            raise _syntax_error(error, path, self._text) from None
        assert event is not None  # never read past the end of the stream
        return event

    def _node(self, event: yaml.Event, path: Path, *, is_key: bool = False) -> Node:
        self._judge_size(event, 1, 0, path)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        assert isinstance(event, yaml.NodeEvent)  # the grammar has nothing else here
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._note(_place(event), path, f"tag {quote(tag)} is not supported; remove it")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._content(event, path)
        if not is_key and has_variables(node.source):
            self._expand(node, plain=_is_plain(event), path=path)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _content(self, event: yaml.NodeEvent, path: Path) -> Node:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, path)
        assert isinstance(event, yaml.ScalarEvent)  # the third and last kind
        plain = event.implicit[0]
        return Node(_place(event), _scalar(event.value) if plain else event.value, event.value)

    def _expand(self, node: Node, *, plain: bool, path: Path) -> None:
        """Replace the variables in a scalar."""
        written = node.source
        try:
            node.source = expand(written, self._environment)
        except CannotExpand as error:
            self._note(node.place, path, str(error))
            return
        self._expanded += len(node.source)
        if self._expanded > MOST_TEXT:
            raise Unreadable(node.place, path, "is where variables make the file larger than 1 MiB; set shorter ones")
        node.is_variable = is_variable(written)
        node.value = _scalar(node.source) if plain or node.is_variable else node.source

    def _mapping(self, start: yaml.Event, path: Path) -> Node:
        children: dict[str, Node] = {}
        places: dict[str, Place] = {}
        while not isinstance(event := self._next(path), yaml.MappingEndEvent):
            key = self._key(event, path)
            child = self._node(self._next(path), (*path, "?" if key is None else key))
            if key is None:
                continue
            if key in children:
                first = f"line {places[key].line}, column {places[key].column}"
                text = f"{quote(key)} stands twice in one mapping, first at {first}; keep one"
                self._note(_place(event), (*path, key), text)
                continue
            children[key], places[key] = child, _place(event)
        return Node(_place(start), children, keys=places)

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        """A key's text; None if it cannot be one, which was then reported."""
        node = self._node(event, (*path, "?"), is_key=True)
        if isinstance(node.value, str) and not (node.value == "<<" and _is_plain(event)):
            return node.value
        if node.value == "<<":
            self._note(node.place, (*path, "<<"), "merge keys are not supported; write out the keys that it stands for")
        elif isinstance(node.value, (list, dict)):
            self._note(node.place, path, f"{quote(node.value)} cannot be a key; write text")
        else:
            self._note(node.place, (*path, node.source), f'{_kind(node)} cannot be a key; quote it: "{node.source}"')
            return node.source
        return None

    def _sequence(self, start: yaml.Event, path: Path) -> Node:
        items: list[Node] = []
        while not isinstance(event := self._next(path), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return Node(_place(start), items)

    def _alias(self, event: yaml.AliasEvent, path: Path) -> Node:
        self._aliases += 1
        if self._aliases > MOST_ALIASES:
            raise Unreadable(
                _place(event), path, f"has more than {MOST_ALIASES} aliases; write out what they stand for"
            )
        if event.anchor not in self._anchors:
            raise Unreadable(
                _place(event), path, f"*{event.anchor} stands for nothing; write &{event.anchor} before it"
            )
        node = self._anchors[event.anchor]
        if node is None:
            raise Unreadable(_place(event), path, f"*{event.anchor} stands for what holds it; write out what is meant")
        count = height = 0
        for below, _ in islice(node.walk(), MOST_VALUES):
            count, height = count + 1, max(height, len(below))
        self._judge_size(event, count, height, path)
        return node

    def _note(self, place: Place, path: Path, text: str) -> None:
        """What is wrong, and does not keep the rest from being read."""
        self._problems.append(Problem(place, path, text))

    def _judge_size(self, event: yaml.Event, count: int, height: int, path: Path) -> None:
        self._values += count
        if len(path) + height > DEEPEST:
            raise Unreadable(_place(event), path, _TOO_DEEP)
        if self._values > MOST_VALUES:
            raise Unreadable(
                _place(event), path, f"is where the file passes {MOST_VALUES} values; write fewer, or fewer aliases"
            )


def is_text(text: str) -> bool:
    """Whether a plain value of YAML that reads so is text, and no number or word that means something else."""
    return isinstance(_scalar(text), str)


def _scalar(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def _is_plain(event: yaml.Event) -> bool:
    return isinstance(event, yaml.ScalarEvent) and bool(event.implicit[0])


def _kind(node: Node) -> str:
    if node.value is None:
        return "nothing"
    return f"{quote(node.value)}, a {'truth value' if isinstance(node.value, bool) else 'number'},"


def _place(event: yaml.Event) -> Place:
    return _at(event.start_mark)


def _at(mark: yaml.Mark | CMark | None) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)


def _syntax_error(error: yaml.MarkedYAMLError, path: Path, text: str) -> Unreadable:
    what = error.problem or "not readable"
    place = _at(error.problem_mark)
    address = _IPV6.search("\n".join(text.splitlines()[max(0, place.line - 2) : place.line]))
    right = next((hint for part, hint in _HINTS if part in what), "check the indentation, the quotes and the brackets")
    if address is not None:
        right = f'quote the address: "{address[0]}"'
    doing = f" {error.context}" if error.context else ""
    return Unreadable(place, path, f"this is not YAML: {what}{doing}; {right}")

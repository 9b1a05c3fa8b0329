"""``${NAME}`` and ``${NAME:-default}`` in a value: text of the environment, as docker compose has it.

What a variable holds is taken as it is: neither it nor a default is looked through again. ``$$`` is one dollar, and
a dollar that neither a dollar nor a brace follows is itself.
"""

import re
from collections.abc import Mapping

from faultproxy.text import one_line

MOST_TEXT = 2**20
"""The most characters that the values of one file may become."""

_VARIABLE = re.compile(r"\$(?:(\$)|(\{)(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^$}]*))?\})?)")
_FORMS = "write ${NAME} or ${NAME:-default}, or $${ for the text itself"


class CannotExpand(Exception):
    """A value asks for a variable that is not there, or in a form that there is not; the text says what to do."""


def has_variables(text: str) -> bool:
    """Whether expand() would change the text, or refuse it."""
    return "$$" in text or "${" in text


def is_variable(text: str) -> bool:
    """Whether the text is one variable and nothing else."""
    match = _VARIABLE.fullmatch(text)
    return match is not None and match[3] is not None


def expand(text: str, environment: Mapping[str, str]) -> str:
    """The text with its variables replaced. Raises CannotExpand."""

    def value(match: re.Match[str]) -> str:
        escaped, brace, name, default = match.groups()
        if escaped or not brace:
            return "$"
        if name is None:
            shown = text[match.start() :].split("}", maxsplit=1)[0][:40]
            raise CannotExpand(f'"{one_line(shown)}" begins a variable that is none; {_FORMS}')
        found = environment.get(name)
        if default is not None:
            found = found or default
        if found is None:
            raise CannotExpand(f"${{{name}}} is not set; set {name}, or write ${{{name}:-default}}")
        if not _is_unicode(found):
            raise CannotExpand(f"${{{name}}} is not UTF-8; set {name} to text")
        return found

    return _VARIABLE.sub(value, text)


def escape(value: object) -> object:
    """A value, made of mappings and lists perhaps, to be written into a file: what reads as a variable is escaped."""
    if isinstance(value, str):
        return value.replace("$", "$$") if has_variables(value) else value
    if isinstance(value, Mapping):
        return {key: escape(inner) for key, inner in value.items()}
    return [escape(inner) for inner in value] if isinstance(value, list | tuple) else value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # what Python made of bytes that are no UTF-8
        return False
    return True

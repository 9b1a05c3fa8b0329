"""Plays the whole matrix and writes docs/fidelity.md: expected against seen, for every fault and language."""

import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fidelity.languages import LANGUAGES
from tests.fidelity.matrix import ROWS
from tests.fidelity.playing import Matrix, Seen, expectation, heading, listed

PAGE = Path(__file__).parents[2] / "docs" / "fidelity.md"

INTRODUCTION = """\
# What a plain client sees, in six languages

For each fault a small program in each language does what any client does: connect, send a request, read to the end. It prints what its
own system call or exception said, and that is held against what the fault promises. The programs are in
[tests/fidelity/clients](../tests/fidelity/clients), the table of faults is [tests/fidelity/matrix.py](../tests/fidelity/matrix.py),
and `tests/fidelity/test_matrix.py` asserts all of it. `scripts/fidelity` writes this page; {where}.

The server sends 10000 bytes and ends unless a row says otherwise. Where a client connects several times, ` · ` stands between
the exchanges. `write:` is what became of writing on after EOF.
"""

DIFFERENCES = """\
## Where languages differ

- **The words.** Java has no class for a reset or a broken pipe: both are `java.net.SocketException`, and only the message says which.
  `Connection reset` comes from its read, `Connection reset by peer` from its write. Node names the call beside the errno.
  Rust has a kind for each, Python a class for each but `EHOSTUNREACH` and `ENETUNREACH`, which are plain `OSError`.
- **Which call fails.** A reset at once comes 5 ms after the handshake, and is returned by the first write or the first read,
  whichever the client has reached; by connect, if the client has had no processor for so long; the errno is the same. Node always has a read under way, which fails with a reset before the next write does. A client that
  connects without blocking asks for the socket's error when it is connected, and so does Python with a timeout: a broken pipe at once
  may then be returned by connect, with `EPIPE`.
- **SIGPIPE.** In C and Perl the write that fails with `EPIPE` ends the process unless SIGPIPE is ignored (`MSG_NOSIGNAL`, `$SIG{PIPE}`).
  Python, Node, Java and Rust ignore it from the start.
- **A client's own timeout.** C and Perl (`SO_RCVTIMEO`) and Rust see `EAGAIN` from a read that takes too long, Python `TimeoutError`,
  Java `SocketTimeoutException`; in Node it is an event, not an error.
- **Half-close.** Node ends its own direction when the server ends the other, unless the socket is made with `allowHalfOpen`.
- **Data and RST together.** Node reports a clean EOF when a reset is there by the time it reads the data before it, with or without a
  proxy. faultproxy therefore lets a moment pass between the last byte's acknowledgement and the reset; on a loaded machine that may
  not be enough, so Node has several attempts at `reset: after bytes`.
- **Reader and writer.** The first write after EOF fails with `EPIPE` because the reset is already there; with a reader that has merely
  closed, the first write succeeds and only the next one fails. Clients wait 20 ms before each write, so that the difference shows.
"""


def main() -> int:
    """Play, write, and say whether every cell is right."""
    languages = [language for language in LANGUAGES if not language.missing]
    with tempfile.TemporaryDirectory() as folder, Matrix(Path(folder), languages) as matrix:
        seen = {(row.name, language.name): matrix.play(row, language) for row in ROWS for language in languages}
    PAGE.write_text("\n".join(page(seen)))
    wrong = [f"{row}, {language}: {one.wrong}" for (row, language), one in seen.items() if one.wrong]
    sys.stderr.write("".join(f"{complaint}\n" for complaint in wrong))
    return 1 if wrong else 0


def page(seen: dict[tuple[str, str], Seen]) -> Iterator[str]:
    kernel = re.match(r"\d+\.\d+", platform.release())
    where = f"this one was seen on {platform.system()} {kernel.group() if kernel else ''} ({platform.machine()})"
    yield INTRODUCTION.format(where=where)
    names = [language.name for language in LANGUAGES]
    yield from table(
        ["fault, and its rules", "what a client should see", "fidelity here", *names],
        [
            [heading(row), expectation(row), fidelity, *(mark(one) for one in cells)]
            for row in ROWS
            for cells in [[seen.get((row.name, name)) for name in names]]
            for fidelity in [next((one.fidelity for one in cells if one and one.fidelity), "")]
        ],
    )
    yield DIFFERENCES
    for language in LANGUAGES:
        yield f"## {language.name}\n"
        if language.missing:
            yield f"Not played: {language.missing} was not there.\n"
            continue
        yield f"{language.first_line_of_version()}; the client is `tests/fidelity/clients/{language.source}`.\n"
        cells = [seen[row.name, language.name] for row in ROWS]
        yield from table(
            ["fault", "expected", "seen, in its own words"],
            [[one.row.name, listed(one.expected), listed(one.words)] for one in cells],
        )


def mark(one: Seen | None) -> str:
    """A cell of the matrix: right, or the exchanges that ended otherwise; bold if that is wrong."""
    if one is None:
        return "not played"
    pairs = zip(one.outcomes, one.row.expected, strict=True)
    otherwise = listed(tuple(outcome for outcome, expected in pairs if outcome != expected))
    return f"**{otherwise or 'wrong'}**" if one.wrong else otherwise or "✓"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown."""
    for cells in (heads, ["---"] * len(heads), *rows):
        yield "| " + " | ".join(cells) + " |"
    yield ""


if __name__ == "__main__":
    sys.exit(main())

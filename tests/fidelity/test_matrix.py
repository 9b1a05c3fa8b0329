"""Each fault is what a plain client in Python, C, Node, Java, Rust or Perl says it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fidelity.languages import LANGUAGES, Language
from tests.fidelity.matrix import ROWS, Row
from tests.fidelity.playing import Matrix, expectation, heading
from tests.peers import connect, read_exactly, read_to_the_end, wait_until_broken
from tests.running import Scene, Stage

DOCS = Path(__file__).parents[2] / "docs" / "fidelity.md"


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    languages = [language for language in LANGUAGES if not language.missing]
    with Matrix(tmp_path_factory.mktemp("fidelity"), languages) as matrix:
        yield matrix


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "_"))
def test_a_fault_is_what_it_says(matrix: Matrix, row: Row, language: Language) -> None:
    """The bytes, how they end, when, what the server heard, and what the log says of it."""
    if language.missing:
        pytest.skip(f"{language.missing} is not on this machine")
    assert not matrix.play(row, language).wrong


def test_python_catches_each_error_as_its_own_class(tmp_path: Path) -> None:
    """ConnectionError has four subclasses; each fault that exists raises its own, no other and no plain OSError."""
    scenes = {
        "refuse": Scene([{"name": "r", "refuse": None}]),
        "reset": Scene([{"name": "r", "reset": {"after": "4B"}}]),
        "broken_pipe": Scene([{"name": "r", "broken_pipe": {"after": "4B"}}]),
        "abort": Scene([{"name": "r", "abort": {"after": "4B"}}]),
    }
    with Stage(tmp_path, scenes) as stage:
        stage.proxy.wait_for("outage.started", proxy="refuse")
        with pytest.raises(ConnectionRefusedError):
            connect(stage.proxy.address("refuse"))
        with stage.ends("reset") as (client, server):
            server.sendall(b"four and more")
            assert read_exactly(client, 4) == b"four"
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with stage.ends("broken_pipe") as (client, server):
            server.sendall(b"four and more")
            assert read_to_the_end(client) == (b"four", "EOF")
            wait_until_broken(client)
            with pytest.raises(BrokenPipeError):
                client.sendall(b"more")
        with stage.ends("abort") as (client, server):
            server.sendall(b"four and more")
            assert read_exactly(client, 4) == b"four"
            is_exact = stage.proxy.wait_for("fault.injected", proxy="abort")["fidelity"] == "exact"
            with pytest.raises(ConnectionAbortedError if is_exact else ConnectionResetError):
                client.recv(1)


def test_the_page_shows_the_matrix_that_is_tested() -> None:
    """docs/fidelity.md has every row and every language as they are expected now; scripts/fidelity writes it."""
    page = DOCS.read_text()
    for row in ROWS:
        assert f"| {heading(row)} | {expectation(row)} |" in page
    for language in LANGUAGES:
        assert f"## {language.name}" in page

"""What is installed is locked: every version that pyproject.toml allows for is one version, known by its hashes."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.locked import ROOT, locked

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN = PROJECT["project"]["dependencies"]
BUILD = PROJECT["build-system"]["requires"]
DEV = PROJECT["project"]["optional-dependencies"]["dev"]


@pytest.mark.parametrize(("name", "asked"), [("run", RUN), ("build", BUILD), ("test", [*RUN, *BUILD, *DEV])])
def test_all_that_is_asked_for_is_locked(name: str, asked: list[str]) -> None:
    """Each requirement is pinned at a version that it allows; if not, scripts/lock --add adds it."""
    pins = locked(name)
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_users_get_what_is_tested() -> None:
    """What runs and what builds are versions that the tests are run with."""
    assert locked("run").items() <= locked("test").items()
    assert locked("build").items() <= locked("test").items()


@pytest.mark.parametrize("name", ["run", "build", "test"])
def test_every_file_is_known_by_its_hash(name: str) -> None:
    """Every package has the hashes of its files, and none says where it is to be had."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = [block for block in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE) if "==" in block]
    assert len(blocks) == len(locked(name))
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block
    assert "://" not in text


def test_the_lower_ends_are_versions() -> None:
    """scripts/test --lowest installs the version after >=, so there is one, and nothing else."""
    for requirement in map(Requirement, [*RUN, *BUILD, *DEV]):
        assert [specifier.operator for specifier in requirement.specifier] == [">="], requirement

"""The versions that the lock pins, and what is only so with these."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def locked(name: str) -> dict[str, str]:
    """The version of each package in a file of the lock."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / f"{name}.txt").read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}


def need_locked(package: str) -> None:
    """Skip the test with any other version of a package: what it compares is written by the locked one."""
    wanted = locked("run")[package]
    if version(package) != wanted:
        pytest.skip(f"is written by {package} {wanted}, and here is {version(package)}")

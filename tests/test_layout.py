"""What is tested is what users install."""

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

import pytest

import faultproxy

TESTED_ELSEWHERE = {
    "__main__": "is what signals do while the program is loaded; real processes show it in test_lifecycle",
    "faults/exempt": "does nothing; that it ends the reading is tested with the rules",
}


def test_the_installed_package_is_tested() -> None:
    """The tests import the wheel from site-packages, never the tree beside them."""
    assert Path(faultproxy.__file__).is_relative_to(sysconfig.get_path("purelib"))


def test_the_wheel_is_complete() -> None:
    """The wheel has the stated version, the command, the demo's configuration and the marker of types."""
    assert version("faultproxy") == faultproxy.__version__
    (command,) = entry_points(group="console_scripts", name="faultproxy")
    assert command.value == "faultproxy.__main__:main"
    for name in ("demo.yaml", "py.typed"):
        assert files(faultproxy).joinpath(name).is_file()


def test_every_module_has_its_test_file() -> None:
    """tests/ mirrors the package: what faultproxy/a/b.py does is shown by tests/a/test_b.py."""
    tests = Path(__file__).parent
    package = Path(faultproxy.__file__).parent
    modules = {path.relative_to(package).with_suffix("") for path in package.rglob("*.py") if path.stem != "__init__"}
    untested = {str(module) for module in modules if not (tests / module.parent / f"test_{module.name}.py").exists()}
    assert untested <= TESTED_ELSEWHERE.keys()


def test_importing_it_costs_little() -> None:
    """The package alone imports neither trio nor pydantic, because pytest loads its plugin in every run."""
    program = (
        "import sys, faultproxy.testing.pytest_plugin; print({'trio', 'pydantic', 'structlog'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(faultproxy.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-P", "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout == b"set()\n"


def test_all_names_are_there() -> None:
    """What __all__ names can be had, and nothing else."""
    assert all(getattr(faultproxy, name) for name in faultproxy.__all__)
    with pytest.raises(AttributeError, match="Proxies"):
        _ = faultproxy.Proxies  # type: ignore[attr-defined]

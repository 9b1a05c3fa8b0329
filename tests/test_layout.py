"""What is tested is what users install."""

import sysconfig
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

import faultproxy


def test_the_installed_package_is_tested() -> None:
    """The tests import the wheel from site-packages, never the tree beside them."""
    assert Path(faultproxy.__file__).is_relative_to(sysconfig.get_path("purelib"))


def test_the_wheel_is_complete() -> None:
    """The wheel has the stated version, the command, the demo's configuration and the marker of types."""
    assert version("faultproxy") == faultproxy.__version__
    (command,) = entry_points(group="console_scripts", name="faultproxy")
    assert command.value == "faultproxy.cli:main"
    for name in ("demo.yaml", "py.typed"):
        assert files(faultproxy).joinpath(name).is_file()

"""What is tested is what users install."""

import ast
import os
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

import pytest

import faultproxy

TESTED_ELSEWHERE = {
    "version": "is one text; test_the_wheel_is_complete compares it",
    "__main__": "is what signals do while the program is loaded; real processes show it in cli.test_serving",
    "faults/exempt": "does nothing; that it ends the reading is tested with the rules",
}

MOST_METHODS = 15
MOST_PARAMETERS = 6
LARGE = {
    "Connection": "one life, read from top to bottom",
    "Injector": "the faults of one life, likewise",
    "Peers": "the primitives of every fault's steps",
    "Handshake": "what becomes of one SYN, in the order in which it does",
    "Acceptor": "the way of one client from the listener to its connection",
    "RunningProxy": "an edit asks six things of a proxy, each in a method of its own",
    "Pipe": "the path of every byte: a part of its own would cost each of them a call",
    "Poller": "likewise",
    "RuleSet": "everything that decides stands in one place",
    "BaseProxy": "what users may ask of a proxy in a test",
}
INTERFACES = {
    "HalfOpen": "what a connect fault asks of listener.syn_table's",
    "Peers": "what a triggered fault asks of connection.peers'",
}
PUBLIC = {"Fault": "in a test's words one that was injected: testing.history has its record under the public name"}


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


def test_classes_are_small() -> None:
    """A class has at most 15 methods, and is made of at most 6 parts; a record, which does nothing, of any number."""
    large = set()
    for node in _classes():
        functions = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        made_of = [len(each.args.args + each.args.kwonlyargs) - 1 for each in functions if each.name == "__init__"]
        if len(functions) > MOST_METHODS or max(made_of, default=0) > MOST_PARAMETERS:
            large.add(node.name)
    assert large == LARGE.keys()


def test_each_class_has_a_name_of_its_own() -> None:
    """A name stands for one thing, or for an interface in the room that asks and what implements it in another."""
    aliases = (
        target for tree in _trees() for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
    )
    names = [node.name for node in _classes()] + [each.id for each in aliases if isinstance(each, ast.Name)]
    counts = Counter(name for name in names if name[0] != "_" and not name.isupper() and not name.islower())
    assert {name for name, count in counts.items() if count > 1} == INTERFACES.keys() | PUBLIC.keys()


def _trees() -> Iterator[ast.Module]:
    return (ast.parse(path.read_text()) for path in Path(faultproxy.__file__).parent.rglob("*.py"))


def _classes() -> Iterator[ast.ClassDef]:
    return (node for tree in _trees() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


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

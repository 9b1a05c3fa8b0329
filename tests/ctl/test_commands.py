"""`faultproxy ctl` against a faultproxy that runs: what it prints, what it changes, and how it ends."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from faultproxy.cli import main
from faultproxy.control.http.connections import FaultsByHand
from faultproxy.ctl.commands import ctl
from tests.peers import PATIENCE_S, Upstream, connect, nobody, read_exactly, read_to_the_end
from tests.running import Faultproxy, one

CUT = {"name": "cut", "when": {"first": 1}, "reset": {"after": "4KiB"}}


class Scene:
    """A faultproxy with a proxy ``p`` and an upstream that the test holds."""

    def __init__(self, stack: ExitStack, folder: Path, *options: str) -> None:
        self.upstream = stack.enter_context(Upstream())
        self.socket = f"unix:{folder}/api.sock"
        config = one(self.upstream.address, CUT)
        self.proxy = stack.enter_context(
            Faultproxy(folder, config, "--api", self.socket, "--seed", "7", *options, may_complain=True)
        )
        self.proxy.wait_for("api.started")

    def run(self, *words: str, given: bytes | None = None, code: int = 0) -> Result:
        """Run ctl with these words; it must end with this code, and never with a traceback."""
        result = CliRunner(env={"FAULTPROXY_API": self.socket}).invoke(ctl, words, input=given)
        assert result.exit_code == code, (words, result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    def json(self, *words: str, given: bytes | None = None) -> Any:
        """What it prints for programs."""
        return json.loads(self.run(*words, "--json", given=given).stdout)

    def rules(self) -> list[str]:
        """The names of p's rules."""
        return [rule["name"] for rule in self.json("proxies", "p")["rules"]]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        yield Scene(stack, Path(folder))


class TestSeeing:
    """What only looks."""

    def test_status(self, scene: Scene) -> None:
        """For people and for programs."""
        assert scene.json("status")["seed"] == 7
        assert "seed" in scene.run("status").stdout

    def test_rules(self, scene: Scene) -> None:
        """Those of a proxy, in their order, and nothing else."""
        assert scene.json("rules", "p") == scene.json("proxies", "p")["rules"]
        assert "reset: {after:" in scene.run("rules", "p").stdout
        assert scene.run("rules", "q", code=1).stderr == 'there is no proxy "q"\n'

    def test_proxies(self, scene: Scene) -> None:
        """All, one, and none of that name."""
        assert [each["name"] for each in scene.json("proxies")["proxies"]] == ["p"]
        assert "reset: {after:" in scene.run("proxies", "p").stdout
        assert scene.run("proxies", "q", code=1).stderr == 'there is no proxy "q"\n'

    def test_connections(self, scene: Scene) -> None:
        """Open ones, closed ones, one and why."""
        with connect(scene.proxy.address("p")), scene.upstream.accept() as server:
            (seen,) = scene.json("connections", "--state", "open", "--proxy", "p")["connections"]
            assert seen["connection"] in scene.run("connections").stdout
            assert scene.json("connections", seen["connection"])["rules"][0]["rule"] == "cut"
            server.sendall(bytes(5000))
        scene.proxy.wait_for("connection.closed", connection=seen["connection"])
        assert scene.json("connections", "--state", "open")["connections"] == []
        assert scene.json("connections", "--limit", "1")["connections"][0]["state"] == "closed"
        assert "no connection" in scene.run("connections", "x", code=1).stderr

    def test_events(self, scene: Scene) -> None:
        """An object a line for programs."""
        lines = [json.loads(line) for line in scene.run("events", "--json").stdout.splitlines()]
        assert [line["event"] for line in lines][:2] == ["proxy.started", "api.started"]
        assert "proxy.started" in scene.run("events", "--event", "proxy.started", "--limit", "1").stdout
        assert scene.run("events", "--since", str(lines[-1]["id"])).stdout == ""
        assert "is no event; ask for" in scene.run("events", "--event", "proxy.startet", code=2).stderr

    def test_explain(self, scene: Scene) -> None:
        """What runs, whoever has connected."""
        (forecast,) = scene.json("explain", "--connections", "2")["proxies"]
        assert [bool(each["faults"]) for each in forecast["connections"]] == [True, False]
        assert "reset after 4KiB" in scene.run("explain", "--proxy", "p").stdout
        scene.run("explain", "--proxy", "q", code=1)
        assert "is not a duration; write 10ms" in scene.run("explain", "--at", "3", code=2).stderr


class TestChanging:
    """What changes what runs; each leaves it as it was."""

    def test_rules_come_and_go(self, scene: Scene) -> None:
        """First, or before another; the answer is the rule."""
        answer = scene.json("rule", "add", "p", "late a", "latency: {delay: 100ms}", "--before", "cut")
        assert answer["rule"] == {"name": "late a", "latency": {"delay": "100ms"}}
        scene.run("rule", "add", "p", "b", "-", given=b"when: {first: 3}\nhang:\n")
        assert scene.rules() == ["b", "late a", "cut"]
        for name in ("b", "late a"):
            assert scene.run("rule", "remove", "p", name).output == ""
        assert scene.rules() == ["cut"]
        assert scene.run("rule", "remove", "p", "b", code=1).stderr.startswith("there is no rule")

    def test_a_bad_rule_is_told_with_its_place(self, scene: Scene) -> None:
        """And changes nothing."""
        said = scene.run("rule", "add", "p", "b", "latency:\n  delay: 5", code=2).stderr
        assert said.startswith("rule:2:10: ")
        assert '"5" has no unit; write 5ms, 5s or 5m' in said
        assert scene.rules() == ["cut"]

    def test_disable_and_enable(self, scene: Scene) -> None:
        """Like a stopped server, when the command has ended."""
        scene.run("disable", "p")
        with pytest.raises(ConnectionRefusedError):
            connect(scene.proxy.address("p"))
        assert scene.json("enable", "p")[0]["state"] == "open"
        result = scene.run("enable", "p", "q", "p", code=1)
        assert "open" in result.stdout  # what was done before it was refused is shown
        assert result.stderr == 'there is no proxy "q"\n'
        connect(scene.proxy.address("p")).close()
        scene.upstream.accept().close()

    def test_a_fault_by_hand(self, scene: Scene) -> None:
        """Into one connection, at once; it is logged."""
        with connect(scene.proxy.address("p")) as client, scene.upstream.accept() as server:
            (seen,) = scene.json("connections", "--state", "open")["connections"]
            name = seen["connection"]
            assert scene.json("inject", name, "hang")["faults"][0]["fault"] == "hang"
            server.sendall(b"held")
            scene.run("release", name)
            assert read_exactly(client, 4) == b"held"
            assert scene.run("inject", name, "reset", "to=client").stderr == f"{name}: reset injected\n"
            assert read_to_the_end(client) == (b"", "ECONNRESET")
        assert scene.proxy.wait_for("fault.injected", connection=name, fault="reset")["rule"] is None
        scene.proxy.wait_for("connection.closed", connection=name)
        assert "is over" in scene.run("inject", name, "reset", code=1).stderr

    def test_a_bad_fault_is_told(self, scene: Scene) -> None:
        """What is no fault, no option, or comes too late."""
        with connect(scene.proxy.address("p")), scene.upstream.accept():
            (seen,) = scene.json("connections", "--state", "open")["connections"]
            inject = ("inject", seen["connection"])
            assert "not a fault here" in scene.run(*inject, "rset", code=2).stderr
            assert (
                "is neither a size nor a duration; write 4KiB or 2s"
                in scene.run(*inject, "reset", "--after", "4", code=2).stderr
            )
            assert "is no option of a fault; write one such as" in scene.run(*inject, "reset", "now", code=2).stderr
            assert "refuse comes before there is a connection" in scene.run(*inject, "refuse", code=2).stderr

    def test_a_configuration(self, scene: Scene, tmp_path: Path) -> None:
        """Printed as a file, put in force, and dropped again."""
        before = scene.run("config").stdout
        assert yaml.safe_load(before) == scene.json("config")
        file = tmp_path / "other.yaml"
        file.write_text("proxies: {q: {listen: '127.0.0.1:0', upstream: '127.0.0.1:1'}}")
        assert "proxy q added" in scene.run("config", "put", str(file)).stdout
        assert [each["name"] for each in scene.json("proxies")["proxies"]] == ["q"]
        assert "proxy p added" in scene.json("config", "reset")["changes"]
        assert scene.run("config").stdout == before
        assert scene.run("config", "reset").stdout == "nothing has changed\n"

    def test_a_bad_configuration_is_told_by_its_file(self, scene: Scene, tmp_path: Path) -> None:
        """With every error's place, and it changes nothing."""
        file = tmp_path / "bad.yaml"
        file.write_text("proxies:\n  q: {listen: 5432:54, upstream: a}\n")
        lines = scene.run("config", "put", str(file), code=2).stderr.splitlines()
        assert [line.partition(": ")[0] for line in lines] == [f"{file}:2:15", f"{file}:2:34"]
        said = scene.run("config", "put", "-", given=b"[", code=2).stderr
        assert said.startswith("<stdin>:2:1: this is not YAML: ")
        assert "No such file" in scene.run("config", "put", str(tmp_path / "none"), code=2).stderr


class TestReaching:
    """Where the API is, and who may ask."""

    def test_the_option_goes_before_the_variable(self, scene: Scene) -> None:
        """Before or behind the command."""
        with nobody() as address:
            for words in (("--api", address, "status"), ("status", "--api", address)):
                assert "Connection refused" in scene.run(*words, code=1).stderr

    def test_what_is_no_address_is_told(self, scene: Scene) -> None:
        """Of the option and of the variable."""
        assert "'a b' is no address of an API" in scene.run("--api", "a b", "status", code=2).stderr
        result = CliRunner(env={"FAULTPROXY_API": "a b"}).invoke(ctl, ["status"])
        assert (result.exit_code, result.stderr[:15]) == (2, "FAULTPROXY_API:")

    def test_a_token(self, tmp_path: Path) -> None:
        """Is read from its file; without it, the API refuses."""
        token = tmp_path / "token"
        token.write_text("s3cret\n")
        with ExitStack() as stack:
            scene = Scene(stack, tmp_path, "--api-token-file", str(token))
            assert "a token is due" in scene.run("status", code=1).stderr
            scene.run("status", "--token-file", str(token))
            scene.run("--token-file", str(token), "status")
            token.write_text("other")
            scene.run("status", "--token-file", str(token), code=1)
            token.write_text("two words")
            assert "holds no token" in scene.run("status", "--token-file", str(token), code=2).stderr
            assert "No such file" in scene.run("status", "--token-file", str(tmp_path / "none"), code=2).stderr

    def test_a_bad_token_file_ends_the_run(self, tmp_path: Path) -> None:
        """2, and says what is wrong."""
        words = [sys.executable, "-P", "-m", "faultproxy", "run", "--api", "127.0.0.1:0", "--api-token-file"]
        done = subprocess.run([*words, str(tmp_path / "none")], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "none: cannot be read: No such file or directory" in done.stderr


class TestPage:
    """docs/commands.md."""

    def test_every_command_of_ctl_runs_as_shown(self, tmp_path: Path) -> None:
        """In their order, by a shell, beside a connection that is open."""
        page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
        section = page[page.index("\n## ctl\n") : page.index("\n## Completion\n")]
        lines = re.findall(r"^faultproxy ctl .*$", section, re.MULTILINE)
        assert len(lines) == 18
        with Upstream() as upstream:
            config = {"proxies": {"redis": {"listen": "127.0.0.1:0", "upstream": upstream.address}}}
            with Faultproxy(tmp_path, config, "--api", f"unix:{tmp_path}/api", may_complain=True) as proxy:
                with connect(proxy.address("redis")) as client, upstream.accept():
                    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
                    environment = {**os.environ, "PATH": path, "FAULTPROXY_API": f"unix:{tmp_path}/api"}
                    script = "\n".join(lines)
                    done = subprocess.run(
                        ["bash", "-euo", "pipefail", "-c", script],
                        cwd=tmp_path,
                        env=environment,
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    assert (done.returncode, done.stderr) == (0, "redis#1: hang injected\nredis#1: reset injected\n")
                    assert read_to_the_end(client) == (b"", "ECONNRESET")
                assert proxy.seen("fault.injected")[0]["fault"] == "reset"


def command(*words: str) -> list[str]:
    return [str(Path(sys.executable).parent / "faultproxy"), *words]


class TestProcess:
    """In a process of its own, as a shell starts it."""

    def test_events_are_followed_until_ctrl_c(self, scene: Scene) -> None:
        """Each as it happens, in a pipe too; Ctrl-C is no error."""
        words = command(
            "ctl", "--api", scene.socket, "events", "-f", "--json", "--since", "0", "--event", "config.loaded"
        )
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follow:
            assert follow.stdout is not None
            assert follow.stderr is not None
            scene.run("disable", "p")
            scene.run("enable", "p")
            try:
                while json.loads(follow.stdout.readline())["changes"] != ["proxy p: enabled changed"]:
                    pass
                follow.send_signal(signal.SIGINT)
                assert follow.wait(PATIENCE_S) == 0
                assert follow.stderr.read() == ""
            finally:
                follow.kill()

    def test_a_reader_that_goes_is_no_error(self, scene: Scene) -> None:
        """As with any command in a pipe."""
        words = " ".join(command("ctl", "--api", scene.socket, "config"))
        done = subprocess.run(["bash", "-c", f"{words} | true"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


class TestCompletion:
    """What the shell asks for when Tab is pressed."""

    @pytest.mark.parametrize(
        ("shell", "line", "completed"),
        [
            ("bash", "ctl st", ["status"]),
            ("bash", "ctl rule ", ["add", "remove"]),
            ("bash", "ctl enable ", ["p"]),
            ("bash", "ctl rule remove p ", ["cut"]),
            ("bash", "ctl inject x half", ["half_close"]),
            ("zsh", "ctl config p", ["put"]),
            ("zsh", "ctl proxies ", ["p"]),
            ("fish", "ctl conn", ["connections"]),
            ("fish", "ctl disable ", ["p"]),
        ],
    )
    def test_words_are_completed(self, scene: Scene, shell: str, line: str, completed: list[str]) -> None:
        """Commands, faults, and what the API knows of."""
        words = f"faultproxy {line}"
        begun = "" if line.endswith(" ") else line.rsplit(maxsplit=1)[-1]
        count = len(words.split()) - (begun != "")
        found = complete(f"{shell}_complete", words, begun if shell == "fish" else str(count), scene.socket)
        assert [name for name in completed if name in re.split("[,\\n\\t]", found)] == completed

    def test_every_fault_by_hand_is_completed(self, scene: Scene) -> None:
        """Those that the API takes, and no other."""
        found = complete("bash_complete", "faultproxy ctl inject x ", "4", scene.socket)
        completed = {line.partition(",")[2] for line in found.splitlines()}
        assert completed == {field.alias for field in FaultsByHand.model_fields.values()}

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_the_shell_takes_the_script(self, shell: str) -> None:
        """It is a program of that shell's, without an error."""
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed here")
        script = complete(f"{shell}_source", "", "0", "")
        checked = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert "_FAULTPROXY_COMPLETE" in script

    def test_bash_completes(self, scene: Scene) -> None:
        """In a terminal, as docs/commands.md sets it up."""
        if shutil.which("bash") is None:
            pytest.skip("bash is not installed here")
        folder = Path(sys.executable).parent
        setup = f'PATH={folder}:$PATH FAULTPROXY_API={scene.socket}; export FAULTPROXY_API; PS1="> "\n'
        setup += 'eval "$(_FAULTPROXY_COMPLETE=bash_source faultproxy)"\n'
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        try:
            os.write(terminal, setup.encode())
            os.write(terminal, b"echo read''y\n")
            until(terminal, b"ready")
            os.write(terminal, b"faultproxy ctl disa\t")
            until(terminal, b"ctl disable ")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(terminal)


def until(terminal: int, mark: bytes) -> None:
    """Read what the terminal shows up to these bytes."""
    shown = b""
    while mark not in shown:
        assert select.select([terminal], [], [], PATIENCE_S)[0], shown
        shown += os.read(terminal, 4096)


def complete(instruction: str, words: str, at: str, api: str) -> str:
    """What the command says to a shell that asks."""
    asked = {"_FAULTPROXY_COMPLETE": instruction, "COMP_WORDS": words, "COMP_CWORD": at, "FAULTPROXY_API": api}
    result = CliRunner(env=asked).invoke(main, prog_name="faultproxy")
    assert result.exit_code == 0, result.output
    return result.stdout

"""Metrics, as Prometheus and OpenMetrics read them; scraped by a real Prometheus, whose tools find nothing to blame."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from platform import python_version
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import trio
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from faultproxy.control.http.messages import Request, Response
from faultproxy.control.http.metrics import Measurements, Scraping, routes
from faultproxy.events.totals import Totals
from faultproxy.events.types import ConfigLoaded, ConfigRejected, ConnectionClosed
from faultproxy.upstream.durations import Durations
from faultproxy.version import __version__
from tests.control.http.asking import Asking, asking
from tests.managing import ask, read_exactly
from tests.peers import PATIENCE_S
from tests.running import Faultproxy

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD, ALERTS = DEPLOY / "grafana" / "faultproxy.json", DEPLOY / "prometheus" / "alerts.yml"
CUT = {"name": "cut", "reset": {"after": "2B"}, "expect": {"min": 1, "max": 2}}
NEVER = {"name": "never", "when": {"client": "10.0.0.1"}, "latency": {"delay": "1s"}, "hang": {"after": "1s"}}
DRY = {"name": "dry", "dry_run": True, "half_close": {"after": "1B"}}
PASS = {"name": "through", "pass": None}
LABELS = {
    "faultproxy_connections_total": ("proxy",),
    "faultproxy_connections_open": ("proxy",),
    "faultproxy_connections_ended_total": ("proxy", "ended_by"),
    "faultproxy_received_bytes_total": ("proxy", "direction"),
    "faultproxy_sent_bytes_total": ("proxy", "direction"),
    "faultproxy_faults_injected_total": ("proxy", "rule", "fault", "fidelity"),
    "faultproxy_faults_dry_run_total": ("proxy", "rule", "fault"),
    "faultproxy_upstream_failures_total": ("proxy", "error"),
    "faultproxy_expect_unmet": ("proxy", "rule"),
    "faultproxy_dial_duration_seconds": ("le",),
    "faultproxy_config_last_reload_successful": (),
    "faultproxy_config_last_reload_success_timestamp_seconds": (),
    "faultproxy_log_dropped_total": (),
    "faultproxy_build_info": ("version", "python"),
}
SPEC = {name for name in LABELS if not name.endswith("duration_seconds")} | {
    f"faultproxy_dial_duration_seconds_{part}" for part in ("bucket", "count", "sum")
}


async def scrape(it: Asking) -> dict[tuple[Any, ...], float]:
    """The values, by name and labels, these in the order of their names."""
    text = (await it.api.get("/metrics")).text
    samples = [sample for family in prometheus_text(text) for sample in family.samples]
    return {(its.name, *(value for _, value in sorted(its.labels.items()))): its.value for its in samples}


async def test_every_rule_is_there_from_the_start() -> None:
    """At 0, each of its faults; not what does nothing; a dry run among the dry runs."""
    async with asking(CUT, NEVER, DRY, PASS) as it:
        found = await scrape(it)
        faults = {key[1:]: value for key, value in found.items() if key[0] == "faultproxy_faults_injected_total"}
        assert faults == dict.fromkeys(
            [("reset", "exact", "p", "cut"), ("latency", "exact", "p", "never"), ("hang", "exact", "p", "never")], 0
        )
        assert found["faultproxy_faults_dry_run_total", "half_close", "p", "dry"] == 0
        ended = {key[1] for key in found if key[0] == "faultproxy_connections_ended_total"}
        assert ended == {"client", "server", "fault", "upstream_error", "drain"}
        assert found["faultproxy_expect_unmet", "p", "cut"] == 1


async def test_what_happened() -> None:
    """Connections, bytes each way, faults, dry runs, how long dials took; counts that are reset go on here."""
    async with asking(DRY, {**CUT, "when": {"first": 1}}) as it:
        assert await ask(it.its.address("p"), b"four") == "ECONNRESET"
        async with await it.its.connect("p") as client:
            await client.send_all(b"hello")
            assert await read_exactly(client, 5) == b"hello"
            await it.its.record.wait_for(ConnectionClosed)
            assert (await it.api.post("/v1/counters/reset")).status_code == 200
            found = await scrape(it)
        assert found["faultproxy_connections_total", "p"] == 2
        assert found["faultproxy_connections_open", "p"] == 1
        assert found["faultproxy_connections_ended_total", "fault", "p"] == 1
        assert found["faultproxy_received_bytes_total", "upstream", "p"] == 9
        assert found["faultproxy_sent_bytes_total", "upstream", "p"] == 9
        assert found["faultproxy_sent_bytes_total", "downstream", "p"] == 7
        assert found["faultproxy_faults_injected_total", "reset", "exact", "p", "cut"] == 1
        assert found["faultproxy_faults_dry_run_total", "half_close", "p", "dry"] == 2
        assert found["faultproxy_dial_duration_seconds_count",] == 2
        assert found["faultproxy_expect_unmet", "p", "cut"] == 1
        assert found["faultproxy_build_info", python_version(), __version__] == 1


async def test_what_failed() -> None:
    """An upstream that is not there, by the errno."""
    async with asking() as it:
        config = it.its.manager.config.proxies["p"].dump()
        await it.its.edit(p={**config, "upstream": "127.0.0.1:1"})
        await ask(it.its.address("p"))
        found = await scrape(it)
        assert found["faultproxy_upstream_failures_total", "ECONNREFUSED", "p"] == 1


async def test_open_metrics() -> None:
    """When it is asked for: valid, and with the connection of the last fault as its exemplar."""
    async with asking(CUT) as it:
        for _ in range(2):
            await ask(it.its.address("p"), b"four")
        answer = await it.api.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        families = open_metrics(answer.text)  # type: ignore[no-untyped-call]
        samples = [sample for family in families for sample in family.samples]
        (fault,) = [sample for sample in samples if sample.name == "faultproxy_faults_injected_total"]
        assert (fault.value, fault.exemplar and fault.exemplar.labels) == (2, {"connection": "p#2"})


async def test_names() -> None:
    """Those that are promised, and no other; the same in both formats."""
    async with asking(CUT, DRY) as it:
        config = it.its.manager.config.proxies["p"].dump()
        await it.its.edit(p=config, q={**config, "upstream": "127.0.0.1:1"})
        await ask(it.its.address("q"))
        families = prometheus_text((await it.api.get("/metrics")).text)
        found = {each.name: set(each.labels) for family in families for each in family.samples}
        labels = {**LABELS, "faultproxy_dial_duration_seconds_bucket": ("le",)}
        assert found == {name: set(labels.get(name, ())) for name in SPEC}
        text = (await it.api.get("/metrics", headers={"accept": "application/openmetrics-text"})).text
        assert "faultproxy_upstream_failures_total{" in text


def test_names_of_the_page() -> None:
    """docs/metrics.md has each metric with its labels, and no other."""
    page = (DEPLOY.parent / "docs" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `(faultproxy_\w+)` \|([^|]*)\|", page, re.MULTILINE))
    histogram = "faultproxy_dial_duration_seconds"
    assert {name for name in SPEC if not name.startswith(histogram)} | {histogram} == rows.keys()
    assert {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows.items()} == LABELS
    asked = re.findall(r"\bfaultproxy_\w+", "".join(re.findall(r"```text\n(.*?)```", page, re.DOTALL)))
    assert set(asked) <= SPEC


def test_the_page_configures_prometheus(tmp_path: Path) -> None:
    """Its prometheus.yml is one (promtool check config)."""
    _need("promtool")
    page = (DEPLOY.parent / "docs" / "metrics.md").read_text()
    (shown,) = re.findall(r"```yml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(shown)
    shutil.copy(ALERTS, tmp_path)
    run = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_what_toxiproxys_flags_ask_for() -> None:
    """The bytes of its proxies by its names, and the process, beside our own."""
    async with asking() as it:
        assert await ask(it.its.address("p")) == b"hi"
        await it.its.record.wait_for(ConnectionClosed)
        measured = Measurements(
            it.its.stats, Totals(), Durations(), Scraping(lambda: 7, frozenset({"toxiproxy", "process"}))
        )
        (route,) = routes(it.its.manager, measured)
        answer = await route.handler(Request("GET", "/metrics"))
        assert isinstance(answer, Response)
        samples = [each for family in prometheus_text(answer.body.decode()) for each in family.samples]
        bytes_of = {(each.name, each.labels.get("direction")): each for each in samples if "toxi" in each.name}
        assert {key: each.value for key, each in bytes_of.items()} == {
            (f"toxiproxy_proxy_{what}_bytes_total", way): 2
            for what in ("received", "sent")
            for way in ("upstream", "downstream")
        }
        labels = bytes_of["toxiproxy_proxy_sent_bytes_total", "upstream"].labels
        host, port = it.its.address("p")
        assert (labels["proxy"], labels["listener"]) == ("p", f"{host}:{port}")
        values = {each.name: each.value for each in samples}
        assert values["process_resident_memory_bytes"] > 1_000_000
        assert values["faultproxy_log_dropped_total"] == 7


async def test_the_file_that_was_saved_last(tmp_path: Path) -> None:
    """It is rejected, then in force again."""
    file = tmp_path / "f.yaml"
    upstream = "proxies: {p: {listen: '127.0.0.1:0', upstream: '127.0.0.1:1'}}"
    file.write_text(upstream)
    async with asking(file=file) as it:
        for text, kind, value in (("x", ConfigRejected, 0), (f"{upstream} ", ConfigLoaded, 1)):
            file.write_text(text)
            it.its.signal.send_nowait(signal.SIGHUP)
            await it.its.record.wait_for(kind, source="file")
            assert (await scrape(it))["faultproxy_config_last_reload_successful",] == value


def test_names_of_the_dashboard_and_the_alerts() -> None:
    """Each metric that they ask for is one of those that there are."""
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    rules = [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len(asked) > 8
    assert len(rules) == 3
    for expression in (*asked, *rules):
        names = set(re.findall(r"\b(?:faultproxy|toxiproxy)_\w+", expression))
        assert names, expression
        assert names <= SPEC, names - SPEC


def test_alerts_strike(tmp_path: Path) -> None:
    """Each alert when it should, and none when all is well (promtool test rules)."""
    _need("promtool")
    well = {
        'faultproxy_expect_unmet{proxy="p",rule="r"}': "0x30",
        'faultproxy_connections_total{proxy="p"}': "0+10x30",
        "faultproxy_config_last_reload_successful": "1x30",
        "faultproxy_log_dropped_total": "0x30",
    }
    ill = {
        'faultproxy_expect_unmet{proxy="p",rule="r"}': "1x30",
        'faultproxy_connections_total{proxy="p"}': "0+10x30",
        "faultproxy_config_last_reload_successful": "0x30",
        "faultproxy_log_dropped_total": "0+5x30",
    }
    idle = {
        **well,
        'faultproxy_expect_unmet{proxy="p",rule="r"}': "1x30",
        'faultproxy_connections_total{proxy="p"}': "7x30",
    }
    names = ["FaultproxyRuleInjectsNothing", "FaultproxyConfigurationRejected", "FaultproxyLogDropped"]
    tests = []
    for series, struck in ((well, []), (ill, names), (idle, [])):
        sums = [{"expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)', "eval_time": "25m",
                 "exp_samples": [{"labels": "{}", "value": int(name in struck)}]} for name in names]  # fmt: skip
        given = [{"series": key, "values": values} for key, values in series.items()]
        tests.append({"interval": "1m", "input_series": given, "promql_expr_test": sums})
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed; apt-get install prometheus")
async def test_promtool_finds_nothing() -> None:
    """No name without its unit, no counter without _total, no metric without help."""
    async with asking(CUT, DRY) as it:
        await ask(it.its.address("p"), b"four")
        text = (await it.api.get("/metrics")).content
        run = ["promtool", "check", "metrics"]
        done = await trio.run_process(run, stdin=text, capture_stdout=True, capture_stderr=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_real_prometheus(tmp_path: Path) -> None:
    """It scrapes a running faultproxy, answers a query about its faults, and knows the connection of the last."""
    _need("prometheus")
    config = {
        "proxies": {
            "p": {
                "listen": "127.0.0.1:0",
                "upstream": "127.0.0.1:1",
                "rules": [{"name": "cut", "reset": {"to": "client"}}],
            }
        }
    }
    with Faultproxy(tmp_path, config, "--api", "127.0.0.1:0", may_complain=True) as proxy:
        api = proxy.wait_for("api.started")["listen"]
        with socket.create_connection(proxy.address("p"), PATIENCE_S):
            proxy.wait_for("fault.injected")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            own = f"127.0.0.1:{free.getsockname()[1]}"
        jobs = [{"job_name": "faultproxy", "static_configs": [{"targets": [api]}]}]
        scraping = {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": jobs}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(scraping))
        options = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
        options += [f"--web.listen-address={own}", "--enable-feature=exemplar-storage"]
        with subprocess.Popen(["prometheus", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                (found,) = _ask_until(own, "query", query="faultproxy_faults_injected_total == 1")
                assert found["metric"]["rule"] == "cut"
                (up,) = _ask_until(own, "query", query="up == 1")
                assert up["metric"]["instance"] == api
                span = {"start": "0", "end": "9999999999"}
                (exemplars,) = _ask_until(own, "query_exemplars", query="faultproxy_faults_injected_total", **span)
                assert exemplars["exemplars"][-1]["labels"] == {"connection": "p#1"}
            finally:
                server.send_signal(signal.SIGTERM)


def _ask_until(server: str, what: str, **parameters: str) -> list[Any]:
    """What Prometheus answers, once there is anything."""
    with httpx.Client(timeout=PATIENCE_S) as client:
        for _ in range(200):
            try:
                answer = client.get(f"http://{server}/api/v1/{what}?{urlencode(parameters)}").json()["data"]
            except (httpx.TransportError, ValueError):  # it is not ready yet
                answer = []
            found: list[Any] = answer["result"] if isinstance(answer, dict) else answer
            if found:
                return found
            time.sleep(0.1)
    raise AssertionError(f"no answer to {parameters}")


def _need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed; apt-get install prometheus")

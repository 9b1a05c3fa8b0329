"""replay and report: what a log tells."""

import gc
from typing import BinaryIO

import click
import orjson

from faultproxy.cli.output import COULD_NOT_RUN, fail
from faultproxy.report.html import as_html
from faultproxy.report.log_reader import LogReader, by_beginning, log_lines
from faultproxy.report.report import as_json as report_as_json
from faultproxy.report.text import as_text
from faultproxy.tools.replay import CannotReplay, read_log


@click.command
@click.argument("log", type=click.File("rb"))
def replay(log: BinaryIO) -> None:
    """Print a configuration that injects the same faults as in LOG into the same connections.

    LOG is the JSON that `faultproxy run` wrote. If LOG is -, standard input is read.
    """
    try:
        recorded = read_log(log_lines(log))
    except CannotReplay as error:
        fail(f"{log.name}: {error}", COULD_NOT_RUN)
    for note in recorded.notes:
        click.echo(f"{log.name}: {note}", err=True)
    click.echo(recorded.yaml(), nl=False)


@click.command
@click.argument("logs", metavar="LOG...", type=click.File("rb"), nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=click.File("wb"), help="Write a page with pictures to this file.")
def report(logs: tuple[BinaryIO, ...], *, as_json: bool, html: BinaryIO | None) -> None:
    """Print what the clients in each LOG did about the faults: whether they retried, how, and when they recovered.

    LOG is the JSON that `faultproxy run --log-level debug` wrote. If LOG is -, standard input is read. The logs of
    several runs are taken in the order of their times.
    """
    reader = LogReader()
    gc.disable()  # millions of small values, and no cycle among them
    try:
        for lines in by_beginning([log_lines(log) for log in logs]):
            reader.read(lines)
        result = reader.report()
    except OSError as error:
        fail(f"{error.filename}: cannot be read: {error.strerror}", COULD_NOT_RUN)
    finally:
        gc.enable()
    if html is not None:
        html.write(as_html(result).encode())
        if html.name == "<stdout>":  # nothing may stand behind the page
            html.write(b"\n")
            return
    click.echo(orjson.dumps(report_as_json(result), option=orjson.OPT_INDENT_2) if as_json else as_text(result))

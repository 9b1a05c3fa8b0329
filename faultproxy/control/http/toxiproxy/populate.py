"""The file that the flag -config names: what POST /populate takes, read once at the start."""

from pathlib import Path

import trio

from faultproxy.config.loader import LARGEST_FILE
from faultproxy.control.http.toxiproxy import bodies
from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.control.http.toxiproxy.notes import Notes
from faultproxy.control.http.toxiproxy.proxies import PopulateStopped, ToxicProxies
from faultproxy.control.manager import Manager
from faultproxy.events.types import ConfigRejected


async def populate(manager: Manager, path: Path) -> None:
    """Make the proxies of this file. What is wrong with it is published: Toxiproxy runs on without, and so do we."""
    try:
        data = await trio.to_thread.run_sync(_read, path, abandon_on_cancel=True)
        await ToxicProxies(manager, Notes(manager), "file", str(path)).populate(bodies.proxies(bodies.read(data)))
    except (OSError, Refused, PopulateStopped) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        manager.bus.publish(ConfigRejected(source="file", file=str(path), errors=(f"{path}: {text}",)))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise Refused(400, "the file is larger than 1 MiB")
    return data

"""`enarx-deploy metrics`: the metrics of all Keeps in one place, for Prometheus."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enarx_deploy.host.metrics import Reading

LABELS = ("keep", "keep_name", "target")


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Serve them on this loopback address, such as 127.0.0.1:9464.")
@click.option(
    "--textfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write them to this file, whole or not at all, for node_exporter's textfile collector (*.prom).",
)
@common_options("target")
def command(context: Context, listen: str | None, textfile: Path | None) -> None:
    """Show the metrics of every Keep that runs, and of the last of each name, in Prometheus' text format.

    \b
    enarx-deploy metrics                             print them
    enarx-deploy metrics --listen 127.0.0.1:9464     serve /metrics until Ctrl-C
    enarx-deploy metrics --textfile keeps.prom       write them, from a timer

    Each has the labels keep (its id), keep_name and target. They are numbers that the host sees anyway. Whoever can
    reach the address can read them: every user of this machine.
    """
    from enarx_deploy.host.metrics import text

    if listen is not None and textfile is not None:
        raise UsageError("--listen and --textfile exclude each other", hint="leave one of them out")
    if listen is not None:
        _serve(context, listen)
        return
    made = text(LABELS, lambda: readings(context))
    if textfile is None:
        context.emit(made.decode().rstrip("\n"), {"metrics": made.decode()})
        return
    _write(textfile, made)
    context.emit(f"written to {textfile}", {"file": str(textfile)})


def readings(context: Context) -> Iterator[Reading]:
    """One for each Keep."""
    from enarx_deploy.cli.observe import observe
    from enarx_deploy.host.metrics import Reading

    for keep in observe(context):
        status = keep.status
        yield Reading((status.id, status.name, status.target), status, keep.usage)


def _serve(context: Context, listen: str) -> None:
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

    from enarx_deploy.host.metrics import Endpoint, text

    one_at_a_time = threading.Lock()  # every look asks each Keep

    def page() -> tuple[int, str, bytes]:
        with one_at_a_time:
            return 200, CONTENT_TYPE_PLAIN_0_0_4, text(LABELS, lambda: readings(context))

    endpoint = Endpoint(listen, {"/metrics": page})
    try:
        url = f"http://{endpoint.address}/metrics"
        context.emit(url, {"url": url})
        sys.stdout.flush()
        threading.Event().wait()
    finally:
        endpoint.close()


def _write(path: Path, content: bytes) -> None:
    from enarx_deploy.paths import write_atomically

    try:
        write_atomically(path, content, mode=0o644)
    except OSError as error:
        raise UsageError(f"--textfile {path}: {error.strerror}", hint="may you write there?") from error

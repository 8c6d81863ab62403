"""`enarx-deploy console`: a page that shows the Keeps, their chains of trust and their logs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import EnarxDeployError, UsageError

if TYPE_CHECKING:
    from enarx_deploy.console.app import Stream
    from enarx_deploy.console.pages import Shown
    from enarx_deploy.console.server import Serving
    from enarx_deploy.verification import Report, Trust

_REPORT_LIFE = 15.0  # seconds that a report is shown again before the Keep is looked at anew
_MOST_REPORTS = 256


@click.command()
@click.option(
    "--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT", help="Where; port 0 takes any free one."
)
@click.option(
    "--tls-cert", metavar="FILE", type=click.Path(path_type=Path), help="A certificate of yours (PEM, leaf first)."
)
@click.option(
    "--tls-key", metavar="FILE", type=click.Path(path_type=Path), help="Its key, in a file that others cannot read."
)
@common_options("target")
def command(context: Context, listen: str, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve a page that shows the Keeps, until Ctrl-C. It changes nothing.

    It says of each what `verify` says: from whom, for how long, where; with its chain of trust, and its logs.

    The link that is printed works once, for ten minutes; after that, the token in the file that is named lets you in.
    It speaks TLS only. Without --tls-cert an authority of its own signs, for names of this machine alone: let your
    browser trust the root that is named, or look at its warning each time.
    """
    from enarx_deploy.console.server import serve

    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together", hint="give both, or neither")
    if context.target:
        context.named_target()  # now, and not on each page, it is said that there is none of that name
    given = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)

    def ready(serving: Serving) -> None:
        context.emit(lambda: _said(serving), serving)
        sys.stdout.flush()

    serve(_Place(context), listen, given, ready)


def _said(serving: Serving) -> str:
    trust = f"\nits root    {serving.root_pem_path}" if serving.root_pem_path else ""
    return f"open        {serving.link}\nlater       {serving.url}, with the token in {serving.token_file}{trust}"


class _Place:
    """What the console shows, as the commands have it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._remembering = threading.Lock()
        self._reports: dict[str, tuple[float, Report]] = {}

    def keeps(self) -> tuple[list[Shown], list[str]]:
        from enarx_deploy.cli.observe import most_recent, observe
        from enarx_deploy.console.pages import Shown

        problems: list[str] = []
        kept = most_recent(observe(self._context, problems.append))
        return [Shown(keep.status, keep.usage, keep.replica, keep.replicas) for keep in kept], problems

    def report(self, keep: Shown) -> tuple[Report | None, str]:
        from enarx_deploy.models import ALIVE

        status = keep.status
        served = next((one for one in status.endpoints if one.prot == "tls"), None)
        if status.state not in ALIVE:
            return None, "It has ended, so that no client can ask it anything."
        if served is None:
            return (
                None,
                "No socket of it speaks TLS: nothing is proven to its clients, and the network sees everything.",
            )
        known = self._reports.get(status.id)
        if known is not None and time.monotonic() < known[0]:
            return known[1], ""
        try:
            report = self._verify(served.host, served.port, status.package)
        except EnarxDeployError as error:
            return None, f"{error} {error.hint}".strip()
        self._remember(status.id, report)
        return report, ""

    def logs(self, keep: Shown, stream: Stream) -> Iterator[bytes]:
        from enarx_deploy.cli.find_keep import find_keep

        found = find_keep(self._context, keep.status.id)
        with self._context.plugins.boundary():
            yield from found.target.logs(keep.status.id, follow=False, stream=stream)

    def _remember(self, keep: str, report: Report) -> None:
        with self._remembering:
            while len(self._reports) >= _MOST_REPORTS:
                del self._reports[next(iter(self._reports))]
            self._reports[keep] = (time.monotonic() + _REPORT_LIFE, report)

    def _verify(self, host: str, port: int, package: str) -> Report:
        from enarx_deploy.verification import verify

        name = "localhost" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - where it listens, not we
        return verify(name, port, _trust(package), datetime.now(UTC))


def _trust(package: str) -> Trust:
    """The root and the policy of the user's own Steward, and the package that the target says it started."""
    from enarx_deploy import paths
    from enarx_deploy.cli.accepted_backends import accepted_backends
    from enarx_deploy.verification import Trust

    own = paths.state_dir("steward")
    root = own / "root.pem"
    accepted, accepted_by = accepted_backends(own, ())
    return Trust(
        root_pem=root.read_text() if root.exists() else "",
        root_path=root,
        accepted=accepted,
        accepted_by=accepted_by,
        package=package,
        package_from="the Keep's record on its target",
    )

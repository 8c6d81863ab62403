"""`python -m enarx_steward`: a Steward and nothing else, for a machine or a Keep of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from enarx_service import command_line

from . import background, state
from .options import Options
from .record import Running
from .server import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status: 0 when it was asked to end, 1 when it could not start."""
    given = _parser().parse_args(arguments)
    return command_line.run("enarx_steward", lambda: _serve(given))


def _serve(given: argparse.Namespace) -> None:
    directory: Path = given.state.absolute()
    options = Options.given(
        state=directory,
        policy=given.policy and given.policy.absolute(),
        database=given.database,
        **command_line.listener(given),
    )
    if given.own_policy:
        state.prepare(directory)
        state.write_policy(directory, written_by="enarx-deploy")
    if not given.detach:
        serve(options, _announce)
        return
    tell = -1

    def go_to_background() -> None:
        nonlocal tell
        tell = background.detach(directory / state.LOG)

    def ready(running: Running) -> None:
        _announce(running)
        os.write(tell, b"1")
        os.close(tell)

    serve(options, ready, before_serving=go_to_background)


def _announce(running: Running) -> None:
    print(f"Steward at {running.url}, root certificate {running.root_pem_path}", flush=True)
    if running.metrics_url:
        print(f"metrics at {running.metrics_url}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m enarx_steward",
        description="Appraise evidence of Keeps under a policy, and issue certificates on it.",
        epilog="The state directory holds key (ca.key), root (root.pem), policy (steward.toml) and log (issuance.db).",
    )
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="where key, root and policy are")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="the policy, if not DIR/steward.toml")
    command_line.add_listener(parser, "127.0.0.1 and the last port, or any free one")
    parser.add_argument(
        "--database",
        metavar="URL",
        default=os.environ.get("ENARX_DEPLOY_STEWARD_DATABASE", ""),
        help="a PostgreSQL for log and challenges, without a password in the URL; default: DIR/issuance.db",
    )
    parser.add_argument(
        "--own-policy", action="store_true", help="if there is no policy, write the one of a user's own machine"
    )
    parser.add_argument("--detach", action="store_true", help="go to the background once it serves")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`python -m enarx_drawbridge`: a registry and nothing else, for a machine of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from enarx_service import command_line

from .options import DEFAULT_PORT, Options, Running
from .server import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status: 0 when it was asked to end, 1 when it could not start."""
    given = _parser().parse_args(arguments)
    return command_line.run("enarx_drawbridge", lambda: _serve(given))


def _serve(given: argparse.Namespace) -> None:
    policy = given.policy and given.policy.absolute()
    options = Options.given(store=given.store.absolute(), policy=policy, **command_line.listener(given))
    serve(options, _announce)


def _announce(running: Running) -> None:
    print(f"Drawbridge at {running.url}, store {running.store}", flush=True)
    if running.metrics_url:
        print(f"metrics at {running.metrics_url}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m enarx_drawbridge",
        description="Store packages and serve them, in Enarx's Drawbridge protocol.",
        epilog="The store holds policy (drawbridge.toml), database (drawbridge.db) and contents (blobs).",
    )
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="where everything is")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="the policy, if not DIR/drawbridge.toml")
    command_line.add_listener(parser, f"127.0.0.1:{DEFAULT_PORT}; port 0 is any")
    return parser


if __name__ == "__main__":
    sys.exit(main())

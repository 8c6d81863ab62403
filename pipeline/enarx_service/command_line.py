"""What the programs share that run a service and nothing else: the words for its listener, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import ServiceFault


def add_listener(parser: argparse.ArgumentParser, default: str) -> None:
    """Give a parser the options of a listener; `default` says where it is without `--listen`."""
    parser.add_argument("--listen", metavar="HOST:PORT", help=f"default: {default}")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="speak TLS with this certificate (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="and with this key (PEM, without a password)")
    parser.add_argument("--insecure-http", action="store_true", help="plain HTTP for other machines too")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="serve metrics for Prometheus there, in plain HTTP")


def listener(given: argparse.Namespace) -> dict[str, Any]:
    """What was given of these, for `ListenerOptions.given`."""
    return {name: getattr(given, name) for name in ("listen", "tls_cert", "tls_key", "insecure_http", "metrics")}


def run(program: str, serve: Callable[[], None]) -> int:
    """Serve; returns the exit status: 0 when it was asked to end, 1 when it could not start, which is said."""
    try:
        serve()
    except ServiceFault as fault:
        print(f"{program}: {fault}", *([f"  hint: {fault.hint}"] if fault.hint else []), sep="\n", file=sys.stderr)
        return 1
    return 0

"""`python -m enarx_drawbridge`: a registry and nothing else, for a machine of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from enarx_service.errors import ServiceFault
from enarx_service.sockets import LOOPBACK, parse_listen

from .options import DEFAULT_PORT, Options, Running
from .server import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status: 0 when it was asked to end, 1 when it could not start."""
    given = _parser().parse_args(arguments)
    try:
        host, port = parse_listen(given.listen) if given.listen else (LOOPBACK, DEFAULT_PORT)
        options = Options(
            store=given.store.absolute(),
            policy=given.policy and given.policy.absolute(),
            host=host,
            port=port,
            tls_certificate=given.tls_cert and given.tls_cert.absolute(),
            tls_key=given.tls_key and given.tls_key.absolute(),
            insecure_http=given.insecure_http,
            metrics=parse_listen(given.metrics) if given.metrics else None,
        )
        serve(options, _announce)
    except ServiceFault as fault:
        hint = [f"  hint: {fault.hint}"] if fault.hint else []
        print(f"enarx_drawbridge: {fault}", *hint, sep="\n", file=sys.stderr)
        return 1
    return 0


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
    parser.add_argument("--listen", metavar="HOST:PORT", help=f"default: 127.0.0.1:{DEFAULT_PORT}; port 0 is any")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="speak TLS with this certificate (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="and with this key (PEM, without a password)")
    parser.add_argument("--insecure-http", action="store_true", help="plain HTTP for other machines too")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="serve metrics for Prometheus there, in plain HTTP")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""What the commands that run a service share: the options of its listener, and its faults as errors of this program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from enarx_deploy.errors import EnarxDeployError

P = ParamSpec("P")
R = TypeVar("R")
_FILE = click.Path(path_type=Path)


def listener_options(default: str, in_clear: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a command the options of its listener, for `ListenerOptions.given`.

    `default` says where it is without them, and `in_clear` what plain HTTP for other machines means to it.
    """
    options = (
        click.option("--listen", metavar="HOST:PORT", help=f"Default: {default}."),
        click.option("--tls-cert", metavar="FILE", type=_FILE, help="Speak TLS with this certificate."),
        click.option("--tls-key", metavar="FILE", type=_FILE, help="And this key, without a password."),
        click.option("--insecure-http", is_flag=True, help=in_clear),
        click.option("--metrics", metavar="HOST:PORT", help="Serve metrics for Prometheus there, in plain HTTP."),
    )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@contextmanager
def faults_as(kind: type[EnarxDeployError]) -> Iterator[None]:
    """Say what a service finds wrong as an error of this kind."""
    from enarx_service.errors import ServiceFault

    try:
        yield
    except ServiceFault as fault:
        raise kind(str(fault), hint=fault.hint) from fault

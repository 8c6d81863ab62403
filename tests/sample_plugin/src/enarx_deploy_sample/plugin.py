"""The hooks. Each registers; a class or a function of its own does the work."""

from __future__ import annotations

import click

from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import Backend, Toolchain
from enarx_deploy_sample.backend import Paper
from enarx_deploy_sample.toolchain import Say


@hookimpl
def register_toolchains() -> list[Toolchain]:
    return [Say()]


@hookimpl
def register_backends() -> list[Backend]:
    return [Paper()]


@hookimpl
def register_commands() -> list[click.Command]:
    return [say]


@click.command()
@click.argument("words", nargs=-1)
def say(words: tuple[str, ...]) -> None:
    """Print WORDS."""
    click.echo(" ".join(words))

"""`enarx-deploy schema`: the JSON Schema of the manifest, for editors and for other programs."""

from __future__ import annotations

import json

import click

from enarx_deploy.cli.context import Context, common_options


@click.command()
@common_options()
def command(context: Context) -> None:
    """Print the JSON Schema of Enarx.toml.

    An editor that knows TOML checks a file that begins with `#:schema PATH` against it while you type. What holds
    between keys is checked by `enarx-deploy check` alone.
    """
    from enarx_deploy.manifest import schema

    document = schema()
    context.emit(lambda: json.dumps(document, indent=2, ensure_ascii=False), document)

"""`enarx-deploy attest`: reference values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.models import ReferenceValues


@click.command()
@click.option(
    "--statement",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write them into FILE, signed by --sign: an in-toto statement in a DSSE envelope.",
)
@common_options("manifest", "backend", "target", "force", "sign", "locked")
def command(context: Context, statement: Path | None) -> None:
    """Compile and package, and say what the package must measure to on a backend.

    A backend that is named need not be there: this works on any machine.

    With --json also the appraisal policy, for a Steward that is run elsewhere.

    \b
    Where another decides what is accepted, hand them over signed:
      enarx-deploy attest --backend snp --sign release.key --statement shop.reference-values
      enarx-deploy steward accept shop.reference-values --name shop.example.org
    """
    if statement is not None and not context.sign:
        raise UsageError(
            "--statement is of no use unsigned", hint="add --sign KEY; `enarx-deploy key generate` makes one"
        )
    values = run_stages(context, until="attest")[-1].record
    if statement is not None:
        _write(context, statement, values)
    context.emit(lambda: _shown(values), values)


def _write(context: Context, path: Path, values: ReferenceValues) -> None:
    from enarx_deploy import reference_statement
    from enarx_deploy.paths import write_atomically

    key = context.signing_key
    envelope = reference_statement.signed(values, [key] if key else [])
    try:
        write_atomically(path, envelope, mode=0o644)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="may you write there?") from error
    context.note(f"wrote {path}")


def _shown(values: ReferenceValues) -> str:
    vouched = "yes" if values.hardware else "no: whoever runs the machine can forge these"
    rows = {"backend": values.backend, "hardware": vouched, "package": values.package, **values.measurements}
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())

"""`enarx-deploy steward accept`: signed reference values, put into a Steward's policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import StewardError, UsageError, VerificationRefused

if TYPE_CHECKING:
    from enarx_deploy.models import ReferenceValues
    from enarx_signing import Signer


@click.command("accept")
@click.argument("statement", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--policy", metavar="FILE", type=click.Path(path_type=Path), help="Default: steward.toml in DIR.")
@click.option(
    "--state",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Whose policy it is. Default: that of your own Steward.",
)
@click.option(
    "--name",
    "names",
    metavar="NAME",
    multiple=True,
    help="What certificates are for, where the policy has no section of this kind yet; repeatable.",
)
@click.option(
    "--trust",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The list of trusted keys. Default: signers.toml in the state directory.",
)
@common_options()
def command(
    context: Context,
    statement: Path,
    policy: Path | None,
    state: Path | None,
    names: tuple[str, ...],
    trust: Path | None,
) -> None:
    """Accept one more package: put what it must measure to into the policy.

    FILE is what `enarx-deploy attest --statement` wrote. It counts if a trusted key signed it (`enarx-deploy key
    trust`). The policy is in force after `enarx-deploy steward --reload`.
    """
    from enarx_deploy import paths

    values, signers = _read(statement, trust)
    _require_one_package(values)
    path = policy or (state or paths.state_dir("steward")) / "steward.toml"
    added = _change(path, values, names)
    told = f"{path} accepts {values.package} on {values.backend}, as {_whose(signers)} signed"
    record: dict[str, Any] = {
        "policy": str(path),
        "package": values.package,
        "backend": values.backend,
        "signers": [signer.name for signer in signers],
        "changed": added,
    }
    context.emit(told if added else f"{path} accepted {values.package} already", record)


def _read(path: Path, trust: Path | None) -> tuple[ReferenceValues, tuple[Signer, ...]]:
    from datetime import UTC, datetime

    from enarx_deploy import reference_statement
    from enarx_deploy.cli import evidence_files
    from enarx_deploy.trusted_signers import load

    envelope = evidence_files.read(path, reference_statement.MAX_SIZE)
    return reference_statement.read(envelope, load(trust), datetime.now(UTC), str(path))


def _require_one_package(values: ReferenceValues) -> None:
    """What is added must be what is told: this package, on this backend."""
    kind = values.backend.replace("-", "_")
    section = values.policy.get(kind)
    packages = section.get("packages") if isinstance(section, dict) else None
    if values.policy.keys() != {kind} or packages != [values.package]:
        raise VerificationRefused(
            f"the reference values of {values.package} on {values.backend} accept something else",
            hint="ask who signed them why; those of `enarx-deploy attest` accept one package on one backend",
        )


def _change(path: Path, values: ReferenceValues, names: tuple[str, ...]) -> bool:
    """Whether the policy had to be changed for it."""
    from enarx_deploy.paths import write_atomically
    from enarx_files.turns import turn
    from enarx_steward import acceptance
    from enarx_steward.errors import ConfigurationError

    try:
        with turn(path):
            text = path.read_bytes()
            changed = acceptance.accept(text, values.policy, names)
            if changed != text:
                write_atomically(path, changed, mode=path.stat().st_mode & 0o755)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="`enarx-deploy steward --init` makes a policy; --policy names another"
        ) from error
    except (ConfigurationError, ValueError) as error:
        raise StewardError(f"{path}: {error}", hint=getattr(error, "hint", "")) from error
    return changed != text


def _whose(signers: tuple[Signer, ...]) -> str:
    return " and ".join(signer.name for signer in signers)

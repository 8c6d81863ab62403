"""`enarx-deploy package`: the tree that a Keep runs, made, shown, compared, verified, carried."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.run_stages import run_stages
from enarx_deploy.errors import EnarxDeployError, UsageError, VerificationRefused

if TYPE_CHECKING:
    from enarx_deploy.models import Package
    from enarx_deploy.package_signing import Checked
    from enarx_deploy.protocols import Attachment
    from enarx_signing import Signers


@click.group(invoke_without_command=True)
@click.option("--aot", is_flag=True, help="Add the module as compiled for this wasmtime and processor.")
@common_options("manifest", "force", "sign", "locked")
def command(context: Context, aot: bool) -> None:
    """Compile, and put module, manifest and assets into a tree that its digest names.

    Beside the tree is kept what is said of it: what went in (CycloneDX) and how it was made (SLSA), signed with --sign.
    """
    if click.get_current_context().invoked_subcommand is None:
        context.overrides += ("package.aot=true",) if aot else ()
        package = run_stages(context, until="package")[-1].record
        context.emit(f"{package.digest} {package.root}", package)


@command.command()
@click.argument("package", default="")
@common_options("registry")
def show(context: Context, package: str) -> None:
    """Show what is in a package, what is said of it by whom, and whether that is one whom you trust.

    PACKAGE is a directory or a reference. Without it: what was made last in the project.
    """
    found, attached = _named(context, package)
    said = [_attachment_record(one) for one in attached]
    signers, why = _trusted(found, attached, context.signers)
    record = {"package": found, "attachments": said, "signers": signers, "refused": why}
    context.emit(lambda: "\n".join([_shown(found, said), _verdict(signers, why)]), record)


@command.command()
@click.argument("old")
@click.argument("new", default="")
@common_options("registry")
def diff(context: Context, old: str, new: str) -> None:
    """Say in which files two packages differ; ends with 1 if they do.

    OLD and NEW are directories or references. Without NEW: what was made last in the project.
    """
    before, after = (_named(context, name)[0] for name in (old, new))
    there, here = ({file.path: file for file in package.files} for package in (before, after))
    changes = [
        {
            "path": path,
            "change": "added" if path not in there else "removed" if path not in here else "changed",
            "old": there.get(path),
            "new": here.get(path),
        }
        for path in sorted(there.keys() | here.keys())
        if there.get(path) != here.get(path)
    ]
    lines = [f"{change['change']:<8} {change['path']}" for change in changes]
    context.emit(
        lambda: "\n".join(lines) or f"both are {before.digest}",
        {"same": not changes, "old": before.digest, "new": after.digest, "files": changes},
    )
    if changes:
        raise EnarxDeployError(f"the packages differ in {len(changes)} files", hint=f"{before.digest} {after.digest}")


@command.command()
@click.argument("package", default="")
@click.option("--digest", metavar="sha256:HEX", default="", help="It must be this package.")
@common_options("registry")
def verify(context: Context, package: str, digest: str) -> None:
    """Check every file of a package, and that someone whom you trust has signed it; refuses with 3.

    PACKAGE is a directory or a reference. Without it: what was made last in the project. --allow-unsigned checks the
    files alone.
    """
    found, attached = _named(context, package, digest)
    checked = None if context.allow_unsigned else _checked(found, attached, context.signers)
    signers = [] if checked is None else _signers(checked)
    record = {
        "digest": found.digest,
        "signers": signers,
        "described": [] if checked is None else sorted(checked.statements),
    }
    by = f", and signed by {_names(signers)}" if signers else "; who made it was not asked"
    context.emit(f"{found.digest} is whole{by}", record)


@command.command()
@click.argument("package", default="")
@common_options("sign")
def sign(context: Context, package: str) -> None:
    """Add a signature, by the key of --sign, to a package's directory; those that are there are kept."""
    from enarx_deploy import package_attachments, package_signing, package_tree

    key = context.signing_key
    if key is None:
        raise UsageError("there is no key to sign with", hint="give --sign KEY")
    found = package_tree.read(Path(package)) if package else _made_last(context)
    store = Path(found.root).parent
    statements = dict(package_signing.statements(package_attachments.load(store, found.digest)))
    package_attachments.add(store, found.digest, package_signing.signature(found.digest, statements, [key]))
    context.emit(f"{found.digest} signed by {key.public.id}", {"digest": found.digest, "key": key.public.id})


@command.command()
@click.argument("archive", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("package", default="")
@common_options("registry")
def pack(context: Context, archive: Path, package: str) -> None:
    """Put a package, and what is said of it, into one file (tar) that `unpack` takes where no registry is reached.

    PACKAGE is a directory or a reference. Without it: what was made last in the project.
    """
    from enarx_deploy import package_archive

    found, attached = _named(context, package)
    package_archive.write(found, attached, archive)
    context.emit(f"{found.digest} {archive}", {"digest": found.digest, "archive": str(archive)})


@command.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    default=".",
    help="Lay it out in DIR/DIGEST. Default: here.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Remove packages from DIR, the oldest first, until N are left. Default: none is removed.",
)
@common_options("registry")
def unpack(context: Context, archive: Path, into: Path, keep: int | None) -> None:
    """Lay out the package of an archive that `pack` made, with every file checked.

    If you trust keys (`enarx-deploy key`), one of them must have signed it. Only the archives that `pack` makes are
    read: no links, devices, compression or other paths.
    """
    from enarx_deploy import pruning

    into = into.absolute()
    if keep is None:
        package = _unpacked(context, archive, into)
    else:
        with pruning.arriving(into):
            package = _unpacked(context, archive, into)
            pruning.make_latest(Path(package.root))
        pruning.arrived(into, keep)
    context.emit(f"{package.digest} {package.root}", package)


def _unpacked(context: Context, archive: Path, into: Path) -> Package:
    from enarx_deploy import fetching, package_archive, package_attachments, package_tree, staging

    with staging.directory(into) as new, archive.open("rb") as file:
        found = package_archive.read(file, new, str(archive))
        attached = package_attachments.beside(found)
        fetching.require_signature(found.digest, attached, context.signers, context.note)
        package = package_tree.copy(Path(found.root), into, found.digest)
        package_attachments.replace(into, found.digest, attached)
    return package


def _named(context: Context, name: str, digest: str = "") -> tuple[Package, list[Attachment]]:
    """The package that is named, read or fetched, and what is said of it."""
    from enarx_deploy import package_attachments

    package = _read(context, name, digest) if name else _made_last(context, digest)
    return package, package_attachments.beside(package)


def _made_last(context: Context, digest: str = "") -> Package:
    from enarx_deploy import package_tree, records
    from enarx_deploy.models import Package

    project = context.project()
    entry = records.entry(project.work_dir, "package", "")
    made = records.read(project.work_dir, entry.record, Package) if entry else None
    if made is None:
        raise UsageError(f"{project.root} has no package yet", hint="`enarx-deploy package` makes one")
    return package_tree.read(Path(made.root), digest or made.digest)


def _read(context: Context, name: str, digest: str) -> Package:
    """The package in a directory, or in the registry that a reference names; who signed it is not asked."""
    from enarx_deploy import fetching, package_tree
    from enarx_deploy.cli.progress import reporter
    from enarx_deploy.reference import names_a_registry
    from enarx_signing import Signers

    if Path(name).is_dir():
        return package_tree.read(Path(name), digest)
    if not names_a_registry(name):
        raise UsageError(f"{name}: no such directory, and not a reference to a package", hint="name a package")
    reference = context.reference(name)
    with reporter(context) as shown:
        wanted = reference.pinned(digest) if digest else reference
        return fetching.fetch(wanted, context.plugins, shown.progress, signers=Signers())


def _checked(package: Package, attached: list[Attachment], signers: Signers | None) -> Checked:
    from enarx_deploy import package_signing, trusted_signers

    known = trusted_signers.load() if signers is None else signers
    return package_signing.check(package.digest, attached, known, datetime.now(UTC))


def _trusted(package: Package, attached: list[Attachment], signers: Signers | None) -> tuple[list[dict[str, str]], str]:
    """Who signed it of those whom the user trusts; or nobody, and why."""
    try:
        return _signers(_checked(package, attached, signers)), ""
    except VerificationRefused as error:
        return [], str(error)


def _signers(checked: Checked) -> list[dict[str, str]]:
    return [{"name": one.name, "key": one.key.id} for one in checked.signers]


def _names(signers: list[dict[str, str]]) -> str:
    return ", ".join(f"{one['name']} ({one['key']})" for one in signers)


def _verdict(signers: list[dict[str, str]], why: str) -> str:
    return f"verified: signed by {_names(signers)}" if signers else f"not verified: {why}"


def _attachment_record(one: Attachment) -> dict[str, Any]:
    """What an attachment says, in short. Nothing of it is verified."""
    from enarx_deploy.package_signing import summary

    return {"kind": one.kind, "media_type": one.media_type, "size": len(one.content), **summary(one)}


def _shown(package: Package, said: list[dict[str, Any]]) -> str:
    from enarx_deploy.cli.table import table
    from enarx_deploy.sizes import size

    rows = [(file.path, size(file.size), file.type, file.sha256) for file in package.files]
    lines = [f"{package.digest} {package.root}", "", table(("FILE", "SIZE", "TYPE", "DIGEST"), rows)]
    for one in said:
        keys = ", ".join(one["keys"])
        lines.append(f"{one['kind']}: {one['says']}{f', under the name of {keys}' if keys else ''}")
    return "\n".join(lines)

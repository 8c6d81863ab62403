"""`enarx-deploy image`: the image that a Keep in a virtual machine boots, made, shown, measured, verified."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli import image_event_log, image_sign
from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import EnarxDeployError, UsageError, VerificationRefused

if TYPE_CHECKING:
    from enarx_image.image import Image, Record
    from enarx_image.pins import Pins

_LARGEST = 12

_image_argument = click.argument("image", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
_lock_option = click.option(
    "--lock", "lock_file", metavar="FILE", type=click.Path(path_type=Path), help="Pins of your own, by `image lock`."
)
_mirror_option = click.option("--mirror", metavar="URL", default="", help="Fetch from this archive of Debian.")


@click.group()
@common_options()
def command(_context: Context) -> None:
    """Make and check the image that Keeps in virtual machines boot: a kernel, an initramfs, and a command line.

    Every input is pinned by its digest, so that whoever builds it gets the same bytes, and knows what a Keep has to
    measure to. No root is needed. [DIR] is an image; without it, the one that `image build` made for this version.

    \b
    enarx-deploy image build
    enarx-deploy image measure --package sha256:...
    enarx-deploy image verify --rebuild
    """


command.add_command(image_event_log.command)
command.add_command(image_sign.command)


@command.command()
@click.option("--output", metavar="DIR", type=click.Path(path_type=Path), help="Put it here. Default: the cache.")
@click.option("--debs", metavar="DIR", type=click.Path(path_type=Path), help="Take the packages from here alone.")
@_mirror_option
@_lock_option
@click.option("--force", is_flag=True, help="Make it anew where it is there.")
@common_options("sign")
def build(
    context: Context, output: Path | None, debs: Path | None, mirror: str, lock_file: Path | None, force: bool
) -> None:
    """Make the image, if it is not there.

    Packages of Debian are fetched by this machine's apt, from the archive that it is set to, and kept in the cache;
    each is taken only if it has the digest that is pinned. They are not installed. --sign KEY signs the image, for
    `verify --trust`, also where it is there already.
    """
    from enarx_image import build as building

    with _faults():
        pins = _pins(lock_file)
        folder = output.absolute() if output else building.place(_cache(), pins)
        image = None if force else _there(folder, building.inputs_digest(pins))
        if image is not None and output and context.signing_key is not None:
            context.warn(
                f"{folder} was there, and is signed as it was found: `image verify --rebuild` says whether it is what"
                " its inputs make, and --force makes it anew"
            )
        if image is None:
            building.require_replaceable(folder)
            packages = building.obtain(pins, _cache(), debs, mirror, context.note)
            image = building.build(folder, pins, packages, context.note)
            if not output:
                building.forget_old(_cache())
        _sign(context, image)
    context.emit(lambda: f"{image.digest} {image.folder}", _summary(image))


@command.command()
@_image_argument
@click.option("--all", "whole", is_flag=True, help="Show every file, not only the largest.")
@common_options()
def show(context: Context, image: Path | None, whole: bool) -> None:
    """Show what an image is made of: its parts, packages, and files by size."""
    found = _found(image)
    context.emit(lambda: _shown(found, whole), {"image": _summary(found), "record": found.record})


@command.command()
@_image_argument
@click.option("--package", metavar="sha256:HEX", default="", help="Also what a Keep with this package measures to.")
@click.option("--code", metavar="sha256:HEX", default="", help="As it boots for a Keep that is handed this code.")
@common_options()
def measure(context: Context, image: Path | None, package: str, code: str) -> None:
    """Say what an image measures to: the digest of each part as it is on disk, and of all of them.

    With --package, also the measurement of a Keep of the backend kvm, which software makes and no hardware vouches for.
    Such a Keep is mostly handed compiled code: `attest` shows its digest, for --code.
    """
    from enarx_image import image as images
    from enarx_image import measurement

    found = _found(image)
    if code:
        found = images.with_code(found, _checked_digest(code, "--code"))
    record = {**_digests(found.record), "image": found.digest}
    if package:
        record["kvm"] = measurement.kvm(found.digest, _checked_digest(package, "--package"))
    context.emit("\n".join(f"{name:<8} {digest}" for name, digest in record.items()), record)


@command.command()
@_image_argument
@click.option("--digest", metavar="sha256:HEX", default="", help="It must be this image.")
@click.option("--rebuild", is_flag=True, help="Make it again from its pins, and compare each file.")
@click.option(
    "--trust", metavar="FILE", type=click.Path(path_type=Path), help="A key in it must have signed the image."
)
@click.option("--debs", metavar="DIR", type=click.Path(path_type=Path), help="Take the packages from here alone.")
@_mirror_option
@_lock_option
@click.option(
    "--trust-pins", is_flag=True, help="Make it again from whatever packages the image itself names, and run those."
)
@common_options()
def verify(
    context: Context,
    image: Path | None,
    digest: str,
    rebuild: bool,
    trust: Path | None,
    debs: Path | None,
    mirror: str,
    lock_file: Path | None,
    trust_pins: bool,
) -> None:
    """Check an image against its record, a digest, a signature, or by making it again; refuses with 3.

    What differs is named: a part, a file of the initramfs that the record does not list or the other way about, or the
    SBOM. The record lies beside the image, so that this finds damage and no fraud; --digest, --trust and --rebuild find
    that too. --rebuild runs programs of the packages that are pinned: by this version or by --lock, and
    an image that names others is refused.
    """
    found = _found(image)
    if digest and digest != found.digest:
        raise VerificationRefused(
            f"{found.folder} is the image {found.digest}, not {digest}", hint="build it anew, or fetch it anew"
        )
    if rebuild:
        if not trust_pins:
            _require_pins(found, lock_file)
        _compare(context, found, debs, mirror)
    else:
        _require_described(found)
    signers = _signers(found, trust) if trust else []
    by = f", signed by {', '.join(signers)}" if signers else ""
    made = ", and is what its inputs make" if rebuild else ""
    context.emit(f"{found.digest} is whole{by}{made}", {**_summary(found), "rebuilt": rebuild, "signers": signers})


@command.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@_mirror_option
@_lock_option
@common_options()
def lock(context: Context, file: Path, mirror: str, lock_file: Path | None) -> None:
    """Write to FILE the pins of what the archive has now, for `image build --lock FILE`.

    What apt accepts is pinned: read what changed before you trust images of it.
    """
    from enarx_deploy.paths import write_atomically
    from enarx_image import archive, lock

    with _faults():
        old = _pins(lock_file)
        source = archive.Archive(_cache("apt"), old.suite, mirror)
        context.note(f"asking {mirror or 'the archive that apt here uses'} what {old.suite} has")
        new = lock.renew(old, source, _cache("debs"), context.note)
    write_atomically(file.absolute(), lock.written(new), mode=0o644)
    context.emit(f"{file}: {len(new.packages)} packages of {new.suite}", new)


def _checked_digest(digest: str, option: str) -> str:
    """Raises UsageError."""
    if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is None:
        raise UsageError(
            f"{option}: {digest} is no SHA-256 digest",
            hint="`enarx-deploy attest` and `enarx-deploy package` print them",
        )
    return digest


def _cache(*parts: str) -> Path:
    from enarx_deploy.paths import cache_dir

    return cache_dir("image", *parts)


def _pins(file: Path | None) -> Pins:
    from enarx_image import pins

    return pins.load(file) if file else pins.load()


def _found(folder: Path | None) -> Image:
    """The image that is named, or this version's; its parts are checked."""
    from enarx_image import build, image

    with _faults():
        return image.check(folder or build.find(_cache(), _pins(None)).folder)


def _require_described(found: Image) -> None:
    """Raises VerificationRefused."""
    from enarx_image import described

    with _faults():
        described.require(found)


def _there(folder: Path, inputs: str) -> Image | None:
    """The image in a folder, if it is whole and was made from these inputs."""
    from enarx_image import image
    from enarx_image.errors import ImageError

    try:
        found = image.check(folder)
    except ImageError:
        return None
    return found if found.record.inputs == inputs else None


def _sign(context: Context, image: Image) -> None:
    from enarx_deploy.trusted_signers import signing_faults
    from enarx_image import signature

    if context.signing_key is not None:
        with signing_faults():
            signature.sign(image, [context.signing_key])


def _signers(image: Image, trust: Path) -> list[str]:
    """Who signed an image, of those whose keys are in a file. Raises VerificationRefused."""
    from datetime import UTC, datetime

    from enarx_deploy import trusted_signers
    from enarx_image import signature

    with _faults():
        good = signature.verify(image, trusted_signers.load(trust), datetime.now(UTC))
    return [f"{one.name} ({one.key.id})" for one in good]


def _require_pins(found: Image, lock_file: Path | None) -> None:
    """That an image names no packages but those that are pinned here: some are programs, which a build runs.

    Raises VerificationRefused.
    """
    with _faults():
        ours, theirs = _pins(lock_file), found.record.pins
    if ours == theirs:
        return
    others = [f"{one.name} {one.version}" for one in theirs.packages if one not in ours.packages]
    others += [f"{one.name} {one.version}" for one in theirs.installed if one not in ours.installed]
    named = ", ".join(others) or f"fewer of them, or from {theirs.suite}"
    raise VerificationRefused(
        f"{found.folder} was made from other packages than {lock_file or 'this version'} pins: {named}",
        hint="making it again runs programs of them. --lock FILE names pins that you trust; --trust-pins takes these",
    )


def _compare(context: Context, found: Image, debs: Path | None, mirror: str) -> None:
    """Make an image again from the pins in its record. Raises VerificationRefused with what differs."""
    import tempfile

    from enarx_image import build, image

    pins = found.record.pins
    with _faults(), tempfile.TemporaryDirectory(dir=_cache()) as temporary:
        packages = build.obtain(pins, _cache(), debs, mirror, context.note)
        again = build.build(Path(temporary, "image"), pins, packages, context.note)
        image.require_same(found, again)


def _digests(record: Record) -> dict[str, str]:
    return {name: getattr(record, name).sha256 for name in ("kernel", "initrd", "cmdline")}


def _summary(image: Image) -> dict[str, Any]:
    return {
        "digest": image.digest,
        "folder": str(image.folder),
        "kernel_version": image.record.kernel_version,
        "cmdline": image.cmdline,
    }


def _shown(image: Image, whole: bool) -> str:
    from enarx_deploy.cli.table import table
    from enarx_deploy.sizes import size

    record = image.record
    parts = [(name, size(getattr(record, name).size), digest) for name, digest in _digests(record).items()]
    files = sorted(record.files, key=lambda file: -file.size)
    rows = [(file.path, size(file.size), file.origin) for file in (files if whole else files[:_LARGEST])]
    rest = files[len(rows) :]
    if rest:
        rows.append((f"{len(rest)} more", size(sum(file.size for file in rest)), ""))
    return "\n".join(
        [
            f"{image.digest} {image.folder}",
            f"Linux {record.kernel_version}, Debian {record.pins.suite}",
            f"command line: {image.cmdline}",
            "",
            table(("PART", "SIZE", "DIGEST"), parts),
            "",
            table(("FILE, BEFORE COMPRESSION", "SIZE", "FROM"), rows),
        ]
    )


@contextmanager
def _faults() -> Iterator[None]:
    """Errors of the image's room as those that a user is meant to see."""
    from enarx_image.errors import BadPins, ImageError, WrongImage

    try:
        yield
    except WrongImage as error:
        raise VerificationRefused(str(error), hint=error.hint) from error
    except BadPins as error:
        raise UsageError(str(error), hint=error.hint) from error
    except ImageError as error:
        raise EnarxDeployError(str(error), hint=error.hint) from error
    except OSError as error:
        raise EnarxDeployError(
            f"{error.filename or 'the image'}: {error.strerror}",
            hint="is there room on that disk, and may you write there?",
        ) from error

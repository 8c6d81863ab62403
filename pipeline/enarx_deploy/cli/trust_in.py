"""What `verify` trusts and expects, as its options and this user's own Steward say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from enarx_deploy import paths
from enarx_deploy.cli.accepted_backends import accepted_backends
from enarx_deploy.cli.hardware_trust import HardwareOptions, expected_without_hardware, hardware_trust
from enarx_deploy.errors import UsageError
from enarx_deploy.verification import Trust


class Given(NamedTuple):
    """The options that say whom and what to trust, whichever word the answer rests on."""

    root: Path | None
    accept: tuple[str, ...]
    package: str | None
    any_workload: bool


def trust_in(
    given: Given, options: HardwareOptions, expected_here: Callable[[], str | None], *, by_hardware: bool
) -> Trust:
    """What is trusted and expected; `expected_here` is asked for the package where no option names one.

    Raises UsageError.
    """
    hardware = hardware_trust(options, asked=by_hardware)
    software = None if hardware is not None else expected_without_hardware(options)
    package_from = "--package"
    if given.package is None and (referenced := hardware or software) is not None:
        given, package_from = given._replace(package=referenced.package), str(options.reference_values)
    trusted = _trust(given, expected_here, package_from)
    if hardware is not None:
        return msgspec.structs.replace(trusted, hardware=hardware.trust)
    return trusted if software is None else msgspec.structs.replace(trusted, expected=software.expected)


def _trust(given: Given, expected_here: Callable[[], str | None], said_by: str) -> Trust:
    if given.package is not None and given.any_workload:
        raise UsageError("--package and --any-workload exclude each other", hint="leave one of them out")
    own = paths.state_dir("steward")
    accepted, accepted_by = accepted_backends(own if given.root is None else None, given.accept)
    root_path = given.root or own / "root.pem"
    trusts_nobody = given.root is None and not root_path.exists()
    return Trust(
        root_pem="" if trusts_nobody else _read_root(root_path),
        root_path=root_path,
        accepted=accepted,
        accepted_by=accepted_by,
        package=None if given.any_workload else _checked_digest(given.package) or expected_here(),
        package_from=said_by if given.package else "the Keep's record on this machine",
        any_workload=given.any_workload,
    )


def _read_root(path: Path) -> str:
    """The one certificate of the file, and nothing else that stands in it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        (root,) = x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{path}: there is no root certificate to trust", hint="give the Steward's with --root PEM"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="--root takes a certificate in PEM") from error
    except ValueError as error:
        raise UsageError(
            f"{path}: not one certificate in PEM", hint="the root of a Steward is what `--root` takes"
        ) from error
    return root.public_bytes(Encoding.PEM).decode()


def _checked_digest(package: str | None) -> str | None:
    digits = (package or "").removeprefix("sha256:")
    if package is not None and (digits == package or len(digits) != 64 or set(digits) - set("0123456789abcdef")):
        raise UsageError(
            f"{package!r} is not sha256: and 64 hexadecimal digits", hint="`enarx-deploy package` prints the digest"
        )
    return package

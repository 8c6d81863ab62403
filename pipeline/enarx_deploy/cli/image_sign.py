"""`enarx-deploy image sign`: the owner's word for an image, in the form of Enarx's signature file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_measurement.keys import SevKey

_FILE = click.Path(path_type=Path)


@click.command("sign")
@click.argument("measurement", metavar="HEX")
@click.option("--sev-id-key", required=True, metavar="FILE", type=_FILE, help="The image's key, on P-384.")
@click.option(
    "--sev-id-key-signature",
    metavar="FILE",
    type=_FILE,
    help="The author's word for that key, by `key sev sign`. Default: the image has no author.",
)
@click.option("--guest-svn", metavar="N", type=click.IntRange(0, (1 << 32) - 1), default=0, help="Default: 0.")
@click.option("--allow-smt", is_flag=True, help="Let it run where simultaneous multithreading is on.")
@click.option("--out", required=True, metavar="FILE", type=_FILE, help="Where to write it.")
@common_options()
def command(
    context: Context,
    measurement: str,
    sev_id_key: Path,
    sev_id_key_signature: Path | None,
    guest_svn: int,
    allow_smt: bool,
    out: Path,
) -> None:
    """Sign a launch digest of an SNP guest: the firmware starts the guest only if it has this digest.

    HEX is one of those that `enarx-deploy attest --backend snp` shows. FILE has the ID block and its proof, in the form
    of Enarx's signature file.
    """
    import msgspec

    from enarx_deploy.paths import write_atomically

    digest = _digest(measurement)
    signature = _signature(digest, sev_id_key, sev_id_key_signature, guest_svn, allow_smt)
    write_atomically(out, msgspec.json.encode(signature), mode=0o644)
    record = {"file": str(out), "measurement": measurement.lower(), "author": sev_id_key_signature is not None}
    context.emit(f"{out}: {measurement.lower()}", record)


def _digest(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 48:
        raise UsageError(
            f"{text!r} is not a launch digest: 96 hexadecimal digits", hint="`enarx-deploy attest` shows them"
        )
    return digest


def _signature(digest: bytes, key: Path, word: Path | None, guest_svn: int, allow_smt: bool) -> dict[str, Any]:
    from enarx_deploy import __version__
    from enarx_measurement import MeasurementFault, guest_policy, id_auth, id_block, load_sev

    try:
        id_key: SevKey = load_sev(key)
        block = id_block(digest, policy=guest_policy(*(["smt"] if allow_smt else [])), guest_svn=guest_svn)
        proof = id_auth(block, id_key, None if word is None else word.read_bytes())
    except OSError as error:
        raise UsageError(f"{word}: {error.strerror}", hint="`enarx-deploy key sev sign` writes one") from error
    except MeasurementFault as fault:
        raise UsageError(str(fault), hint=fault.hint) from fault
    return {"version": __version__, "sev": {"id_block": list(block), "id_auth": list(proof)}, "sgx": []}

"""`enarx-deploy collateral`: the vendors' certificates, revocation lists and statements, fetched, carried, shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from enarx_deploy.cli.collateral_store import open_store, store_option
from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.evidence_files import moment_of, read_endorsements, read_evidence, require_known
from enarx_deploy.errors import EnarxDeployError, UsageError, VerificationRefused

if TYPE_CHECKING:
    from enarx_attestation import Evidence
    from enarx_collateral import Item, Store
    from enarx_collateral.directory import Offer
    from enarx_collateral.fetching import Result

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_FILLS = "`enarx-deploy collateral fetch` or `import` fills it"
_SHOWN = {"stored": "stored", "same": "unchanged", "older": "kept the newer one", "current": "is there"}


def _evidence_option(*words: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """The file with evidence, and its kind."""

    def decorate(function: Decorated) -> Decorated:
        kind = click.option("--kind", metavar="KIND", help="Of the evidence: snp, sgx, tdx or az-snp.")
        option = words[0].startswith("--")
        place = click.option if option else click.argument
        return place(*words, metavar="FILE" if option else "[FILE]", type=click.Path(path_type=Path), **attributes)(
            kind(function)
        )

    return decorate


@click.group()
@common_options()
def command(_context: Context) -> None:
    """Keep what vendors say about their hardware: certificates of keys, revocation lists, patch levels.

    Evidence is verified with it, by `appraise --collateral` and by whoever is given the store. Everything is checked
    under the vendors' pinned roots before it is stored, and never replaced by something older.

    \b
    With a network:     enarx-deploy collateral fetch quote.bin --kind tdx
                        enarx-deploy collateral fetch --refresh      (daily)
    Without, carry it:  enarx-deploy collateral export collateral.tar
                        enarx-deploy collateral import collateral.tar
    """


@command.command()
@_evidence_option("file", required=False)
@click.option("--product", "products", metavar="LINE", multiple=True, help="AMD: milan, genoa or turin.")
@click.option("--chip", metavar="HEX", help="AMD: the chip whose key is wanted; with --product and --tcb.")
@click.option("--tcb", metavar="TCB", help="AMD: its patch level, such as bl4.tee0.snp24.ucode219.")
@click.option("--vlek", is_flag=True, help="AMD: issuers and list of the keys that are lent to cloud providers.")
@click.option("--fmspc", metavar="HEX", help="Intel: the family of platforms; with --tee.")
@click.option("--tee", type=click.Choice(["sgx", "tdx"]), help="Intel: what statements are about.")
@click.option("--ca", type=click.Choice(["platform", "processor"]), help="Intel: whose revocation list.")
@click.option("--refresh", is_flag=True, help="Also fetch anew what is in the store and ends soon.")
@click.option("--within", metavar="DAYS", type=click.IntRange(0, 3650), default=7, help="What `soon` is. Default: 7.")
@click.option("--mirror", metavar="URL", help="Ask this PCCS or KDS mirror (https) instead of the vendors.")
@click.option(
    "--mirror-ca", metavar="FILE", type=click.Path(path_type=Path), help="Believe the authorities in this file alone."
)
@store_option
@common_options()
def fetch(context: Context, /, store: Path | None, mirror: str | None, mirror_ca: Path | None, **asked: Any) -> None:
    """Fetch what is missing: for the evidence in FILE, or for what the options name.

    Asked are kdsintf.amd.com, api.trustedservices.intel.com and certificates.trustedservices.intel.com, and nobody else
    unless --mirror names one. What is in the store and valid is not asked for, a chip's key never twice. AMD's service
    answers one request in about ten seconds: this waits for it, up to five minutes an item.

    Without FILE, a report's or quote's needs can be given as `appraise` and the Steward print them. `--refresh` alone
    keeps a store current, from cron: it fetches what ends within --within days.
    """
    import asyncio

    if not asked["refresh"] and not any(asked[name] for name in ("file", "products", "fmspc", "tee", "ca")):
        raise UsageError("nothing to fetch is named", hint="give FILE, --product, --fmspc, --tee, --ca or --refresh")
    if mirror_ca is not None and mirror is None:
        raise UsageError("--mirror-ca is about a mirror", hint="give --mirror URL too")
    now = datetime.now(UTC)
    with _faults():
        kept = open_store(store)
        sets = _wanted(kept, asked, now)
        results = asyncio.run(_fetch(context, kept, sets, now, asked, mirror, mirror_ca))
        kept.sweep()
    _answer(context, results)


async def _fetch(
    context: Context,
    store: Store,
    sets: Sequence[Sequence[Sequence[Item]]],
    now: datetime,
    asked: dict[str, Any],
    mirror: str | None,
    mirror_ca: Path | None,
) -> list[Result]:
    from enarx_collateral.fetching import fetch as bring
    from enarx_collateral.sources import Sources
    from enarx_collateral.transport import transport

    within = timedelta(days=asked["within"]) if asked["refresh"] else timedelta()
    async with transport(ca_file=None if mirror_ca is None else str(mirror_ca), tell=context.note) as carried:
        source = Sources.vendors(carried) if mirror is None else Sources.mirror(carried, mirror)
        found = [
            await bring(store, one, source, now, within=within, tell=lambda result: context.note(_line(result)))
            for one in sets
        ]
    return [result for results in found for result in results]


def _wanted(store: Store, asked: dict[str, Any], now: datetime) -> list[Sequence[Sequence[Item]]]:
    """For each thing that was asked for, the sets of items of which one suffices."""
    from enarx_collateral.fetching import due
    from enarx_collateral.needs import alternatives

    sets: list[Sequence[Sequence[Item]]] = []
    if asked["file"] is not None:
        evidence = _evidence(asked["file"], asked["kind"])
        sets.append(alternatives(evidence, asked["products"]))
        if not sets[-1]:
            raise UsageError(
                f"{asked['file']}: no vendor gives anything for it",
                hint="`collateral show --evidence` tells what it needs",
            )
    sets.append([_named(asked)])
    if asked["refresh"]:
        sets.append([due(store, now, timedelta(days=asked["within"]))])
    return [one for one in sets if any(one)]


def _named(asked: dict[str, Any]) -> list[Item]:
    """The items that options name. With FILE, --product says of which line it may be."""
    from enarx_collateral.item import Item, product_line, vcek
    from enarx_collateral.needs import ROOT_CRL, amd_items

    items: list[Item] = []
    chip, tcb, products = asked["chip"], asked["tcb"], [name.lower() for name in asked["products"]]
    if (chip is None) != (tcb is None) or (chip is not None and len(products) != 1):
        raise UsageError("--chip and --tcb go together, with one --product", hint="give all three, or FILE")
    if asked["fmspc"] is not None and asked["tee"] is None:
        raise UsageError("--fmspc needs --tee", hint="sgx or tdx: each has its own TCB info")
    try:
        if chip is not None:
            items.append(vcek(products[0], chip.lower(), tcb.lower()))
        if asked["file"] is None:
            lines = [product_line(name).name for name in products]
            items += [item for name in lines for item in amd_items(name, "vlek" if asked["vlek"] else "vcek")]
        if asked["fmspc"] is not None:
            items.append(Item("tcb-info", (asked["tee"], _fmspc(asked["fmspc"]))))
    except ValueError as error:
        raise UsageError(str(error), hint="`enarx-deploy collateral fetch --help` shows the options") from error
    items += [Item("qe-identity", (asked["tee"],))] if asked["tee"] else []
    items += [Item("pck-crl", (asked["ca"],))] if asked["ca"] else []
    return [*items, ROOT_CRL] if asked["tee"] or asked["ca"] else items


def _fmspc(text: str) -> str:
    if len(text) != 12 or not all(character in "0123456789abcdefABCDEF" for character in text):
        raise ValueError(f"--fmspc: {text!r} is not 6 bytes in hexadecimal")
    return text.lower()


def _answer(context: Context, results: Sequence[Result]) -> None:
    """The results, as JSON; for people they have been told one by one."""
    from enarx_collateral.fetching import failures

    failed = failures(results)
    done = "" if failed else f"{len(results)} items are there"
    context.emit(done, {"ok": not failed, "items": [_record(result) for result in results]})
    if failed:
        raise EnarxDeployError(
            f"{len(failed)} of {len(results)} items could not be had: {failed[0].reason}", hint=failed[0].hint
        )


def _line(result: Result) -> str:
    until = "" if result.not_after is None else f", until {result.not_after.isoformat()}"
    return f"{result.item}: {result.reason or _SHOWN[result.state]}{until}"


def _record(result: Result) -> dict[str, Any]:
    return {
        "kind": result.item.kind,
        "key": list(result.item.key),
        "state": result.state,
        "not_after": result.not_after,
        "reason": result.reason,
        "hint": result.hint,
    }


@command.command("import")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@store_option
@common_options()
def bring_in(context: Context, path: Path, store: Path | None) -> None:
    """Take in what someone brings: an archive that `export` made, or a directory with endorsements.

    \b
    Names in a directory; others are not looked at:
      vcek.der, vlek.der   AMD: a key's certificate (or .pem, .crt)
      thim.json            AMD on Azure: what its THIM service answers
      ca_chain.pem         AMD: issuers
      crl*.der             AMD: revocation lists (or .pem, .crl)
      collateral.json      Intel: TCB info, enclave identity, chains and lists
      platform.pub.pem     Arm CCA: a platform's public key

    Everything is verified as if it were fetched; what is refused is named, and what is good is stored nevertheless.
    """
    from enarx_collateral import CollateralError

    with _faults():
        offers = list(_offers(path))
        kept = open_store(store)
        outcomes = [_taken(kept, offer) for offer in offers]
        kept.sweep()
    if not offers:
        raise UsageError(f"{path}: holds no collateral", hint="`enarx-deploy collateral import --help` lists the names")
    for offer, outcome in zip(offers, outcomes, strict=True):
        context.note(f"{offer.origin}: {outcome if isinstance(outcome, CollateralError) else _told(*outcome)}")
    refused = [outcome for outcome in outcomes if isinstance(outcome, CollateralError)]
    records = [_brought(offer, outcome) for offer, outcome in zip(offers, outcomes, strict=True)]
    context.emit("" if refused else f"{len(offers)} items are there", {"ok": not refused, "items": records})
    if refused:
        raise VerificationRefused(
            f"{len(refused)} of {len(offers)} items of {path} are refused: {refused[0]}", hint="get them anew"
        )


def _offers(path: Path) -> Iterator[Offer]:
    from enarx_collateral import RefusedArchive
    from enarx_collateral.archive import read_archive
    from enarx_collateral.directory import offers

    if path.is_dir():
        yield from offers(read_endorsements(path, "import"))
        return
    if not path.is_file():
        raise UsageError(f"{path}: neither a file nor a directory", hint="is the path right?")
    try:
        with path.open("rb") as file:
            yield from read_archive(file)
    except RefusedArchive as error:
        raise RefusedArchive(f"{path}: {error}", hint=error.hint) from error


def _taken(store: Store, offer: Offer) -> Any:
    """The item and what came of it, or the refusal."""
    from enarx_collateral import RefusedCollateral

    try:
        return store.put(offer.kind, offer.data, chain=offer.chain, role=offer.role)
    except RefusedCollateral as refusal:
        return refusal


def _told(item: Item, outcome: str) -> str:
    return f"{item}: {_SHOWN[outcome]}"


def _brought(offer: Offer, outcome: Any) -> dict[str, Any]:
    if isinstance(outcome, tuple):
        item, state = outcome
        return {"origin": offer.origin, "kind": item.kind, "key": list(item.key), "state": state, "reason": ""}
    return {"origin": offer.origin, "kind": offer.kind, "key": [], "state": "refused", "reason": str(outcome)}


@command.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@store_option
@common_options()
def export(context: Context, file: Path, store: Path | None) -> None:
    """Write all of the store into one archive, for machines without a network.

    The archive is a tar with a manifest of digests; stores with the same content give the same bytes. It is no secret,
    and needs no protection on its way: `import` checks everything again.
    """
    from enarx_collateral.archive import export_archive
    from enarx_deploy.paths import write_atomically

    buffer = BytesIO()
    with _faults():
        count = export_archive(open_store(store), buffer)
    if not count:
        raise EnarxDeployError("the store is empty", hint=_FILLS)
    write_atomically(file.absolute(), buffer.getvalue())
    record = {"file": str(file), "items": count, "bytes": len(buffer.getvalue())}
    context.emit(f"{file}: {count} items, {len(buffer.getvalue()):,} bytes", record)


@command.command()
@_evidence_option("--evidence", "file")
@click.option("--at", metavar="TIME", help="As of this time (RFC 3339). Default: now.")
@store_option
@common_options()
def show(context: Context, file: Path | None, kind: str | None, at: str | None, store: Path | None) -> None:
    """Show what is in the store, from when to when it holds, and what has ended.

    With --evidence, also what is missing for that evidence; the exit status is then 1 if something is.
    """
    from enarx_collateral import MissingCollateral

    moment = datetime.now(UTC) if at is None else moment_of(at)
    missing: MissingCollateral | None = None
    with _faults():
        kept = open_store(store)
        entries = [entry for item in kept.items() if (entry := kept.entry(item)) is not None]
        if file is not None:
            try:
                kept.find(_evidence(file, kind), moment)
            except MissingCollateral as error:
                missing = error
    rows = [
        (str(e.item), f"{e.not_before:%Y-%m-%d}", f"{e.not_after:%Y-%m-%d %H:%M}", _state(e, moment)) for e in entries
    ]
    reasons = () if missing is None else missing.reasons
    records = [{"state": state, "entry": entry} for entry, (*_, state) in zip(entries, rows, strict=True)]
    context.emit(lambda: _table(rows), {"entries": records, "missing": list(reasons)})
    if missing is not None:
        raise EnarxDeployError(f"{file}: {missing}", hint=missing.hint)


def _state(entry: Any, moment: datetime) -> str:
    if moment < entry.not_before:
        return "not yet valid"
    return "valid" if moment <= entry.not_after else "STALE"


def _table(rows: Sequence[Sequence[str]]) -> str:
    from enarx_deploy.cli.table import table

    return table(("ITEM", "FROM", "UNTIL (UTC)", "STATE"), rows) if rows else f"the store is empty: {_FILLS}"


def _evidence(file: Path, kind: str | None) -> Evidence:
    from enarx_attestation import parse

    if kind is not None:
        require_known(kind)
    return parse(read_evidence(file), kind)


@contextmanager
def _faults() -> Iterator[None]:
    """Errors of the rooms below as those that a user is meant to see."""
    from enarx_attestation import AttestationError
    from enarx_collateral import CollateralError, RefusedArchive, RefusedCollateral

    try:
        yield
    except (RefusedArchive, RefusedCollateral) as error:
        raise VerificationRefused(str(error), hint=error.hint) from error
    except CollateralError as error:
        raise EnarxDeployError(str(error), hint=error.hint) from error
    except AttestationError as error:
        raise UsageError(str(error), hint=error.hint or "is this the evidence as the platform made it?") from error

"""Bringing a store up to date: what is there and holds is not asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol

import msgspec

from .directory import Offer
from .errors import CollateralError, DamagedStore, NotFound
from .item import KEPT_FOR_GOOD, Entry, Item
from .store import Store

State = Literal["stored", "same", "older", "current", "failed"]


class Result(msgspec.Struct, frozen=True):
    """What came of one item: as `Store.put` says; `current`, if nothing was asked; or `failed`."""

    item: Item
    state: State
    not_after: datetime | None = None
    reason: str = ""
    hint: str = ""


class Source(Protocol):
    """See `sources.Sources`."""

    async def offer(self, item: Item) -> Offer:
        """See `sources.Sources.offer`."""


async def fetch(
    store: Store,
    alternatives: Sequence[Sequence[Item]],
    source: Source,
    at: datetime,
    *,
    within: timedelta = timedelta(),
    tell: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Fetch what the store lacks at the time `at`, or what ends `within` that time; the rest it has.

    `alternatives` are sets of items as `needs.alternatives` names them: the first set is taken whose first item the
    service has. `tell` gets each result at once. An item that fails does not keep the others from being fetched.
    """
    results: list[Result] = []
    for number, items in enumerate(alternatives, 1):
        for place, item in enumerate(items):
            try:
                result = await _fetched(store, item, source, at, within)
            except NotFound as exc:
                if place == 0 and number < len(alternatives):
                    break
                result = _failed(item, exc)
            except CollateralError as exc:
                result = _failed(item, exc)
            results.append(result)
            tell(result)
        else:
            return results
    return results


def due(store: Store, at: datetime, within: timedelta) -> list[Item]:
    """The items in the store which a refresh would fetch. Raises `DamagedStore`."""
    return [item for item in store.items() if item.kind not in KEPT_FOR_GOOD and not _holds(store, item, at, within)]


async def _fetched(store: Store, item: Item, source: Source, at: datetime, within: timedelta) -> Result:
    if _holds(store, item, at, within):
        return Result(item, "current", _end(store, item))
    offer = await source.offer(item)
    _, outcome = store.put(offer.kind, offer.data, chain=offer.chain, role=offer.role, expected=item)
    entry = store.entry(item)
    if entry is not None and entry.current_at(at):
        return Result(item, outcome, entry.not_after)
    window = "" if entry is None else f" ({entry.not_before.isoformat()} to {entry.not_after.isoformat()})"
    reason = f"{offer.origin}: what it gives does not hold at {at.isoformat()}{window}"
    return Result(item, "failed", _end(store, item), reason, "is the clock right? If so, ask the vendor")


def _holds(store: Store, item: Item, at: datetime, within: timedelta) -> bool:
    entry = _entry(store, item)
    if entry is None or not store.holds(entry) or not entry.current_at(at):
        return False
    return item.kind in KEPT_FOR_GOOD or entry.not_after - at >= within


def _entry(store: Store, item: Item) -> Entry | None:
    try:
        return store.entry(item)
    except DamagedStore:
        return None


def _end(store: Store, item: Item) -> datetime | None:
    entry = _entry(store, item)
    return None if entry is None else entry.not_after


def _failed(item: Item, error: CollateralError) -> Result:
    return Result(item, "failed", None, str(error), error.hint)


def failures(results: Iterable[Result]) -> list[Result]:
    """The results of items that could not be had."""
    return [result for result in results if result.state == "failed"]

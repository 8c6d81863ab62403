"""Who is trusted to sign packages: a list of public keys, each with the time in which it counts.

    [[signers]]
    name = "release team"
    key = '''-----BEGIN PUBLIC KEY-----
    ...
    -----END PUBLIC KEY-----'''
    not_before = 2026-01-01T00:00:00Z     # default: since ever
    not_after = 2027-01-01T00:00:00Z      # default: without end
    revoked_at = 2026-06-01T12:00:00Z     # default: not revoked
    native_code = true                    # may bring compiled code to Keeps; default: false

A signature has no trustworthy date: who has the key can write any into what they sign. So the times are about the
moment of the verification, never about one that a signature claims: outside of them, and from `revoked_at` on, no
signature of the key counts, however old it says it is. What is to stay in use is signed again with a newer key.
Several keys may have one name: that is how a signer moves from one to the next.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from .dsse import Envelope
from .errors import KeyFault, RefusedSignature, TrustFault
from .keys import MAX_PEM, PublicKey

MAX_FILE: Final = 1 << 20
MAX_SIGNERS: Final = 64

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,128}\Z")]
    key: Annotated[str, msgspec.Meta(max_length=MAX_PEM)]
    not_before: _Time | None = None
    not_after: _Time | None = None
    revoked_at: _Time | None = None
    native_code: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signers: Annotated[tuple[_Entry, ...], msgspec.Meta(max_length=MAX_SIGNERS)] = ()


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """A trusted key."""

    name: str
    key: PublicKey
    not_before: datetime | None = None
    not_after: datetime | None = None
    revoked_at: datetime | None = None
    native_code: bool = False
    """Whether compiled code in a package that it signed may run in a Keep, where nothing confines it."""

    def objection(self, at: datetime) -> str:
        """Why the key does not count at that time; empty if it does."""
        if self.revoked_at is not None and at >= self.revoked_at:
            return f"was revoked at {self.revoked_at.isoformat()}"
        if self.not_before is not None and at < self.not_before:
            return f"counts from {self.not_before.isoformat()} on"
        if self.not_after is not None and at > self.not_after:
            return f"counted until {self.not_after.isoformat()}"
        return ""


class Signers:
    """The keys that are trusted, each once."""

    def __init__(self, signers: Iterable[Signer] = ()) -> None:
        self._by_id: dict[str, Signer] = {}
        for signer in signers:
            if signer.key.id in self._by_id:
                raise TrustFault(f"the key {signer.key.id} is listed twice", hint="give each key once")
            self._by_id[signer.key.id] = signer
        if len(self._by_id) > MAX_SIGNERS:
            raise TrustFault(f"at most {MAX_SIGNERS} keys are trusted at a time", hint="take out those that have ended")

    def __iter__(self) -> Iterator[Signer]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def verify(self, envelope: Envelope, at: datetime) -> tuple[Signer, ...]:
        """Those who signed the envelope and count at that time, at least one.

        1. A signature names a key of the list, or names none and is then tried with each.
        2. The key counts at that time.
        3. The signature is over the payload and its type.

        Raises RefusedSignature, which says of each signature why it does not count.
        """
        message = envelope.message
        good: dict[str, Signer] = {}
        reasons: list[str] = []
        for signature in envelope.signatures:
            found = next(
                (one for one in self._named(signature.key_id) if one.key.signed(signature.value, message)), None
            )
            reason = self._objection(signature.key_id, found, at)
            if found is None or reason:
                reasons.append(reason)
            else:
                good[found.key.id] = found
        if not good:
            raise RefusedSignature(
                f"no trusted key signed this: {'; '.join(reasons)}",
                hint="`enarx-deploy key trust` adds a key, once you know from elsewhere whose it is",
            )
        return tuple(good.values())

    def _named(self, key_id: str) -> Iterable[Signer]:
        if not key_id:
            return self
        return [self._by_id[key_id]] if key_id in self._by_id else []

    def _objection(self, key_id: str, found: Signer | None, at: datetime) -> str:
        shown = ascii(key_id)[1:-1] if key_id else "a key that is not named"
        if found is not None:
            objection = found.objection(at)
            return objection and f"{found.name} ({found.key.id}) {objection}"
        if key_id in self._by_id:
            return f"the signature of {shown} is wrong"
        return f"{shown} is not trusted"


def parse(data: bytes) -> Signers:
    """Read a list. Raises TrustFault naming the entry."""
    if len(data) > MAX_FILE:
        raise TrustFault(f"a list of signers has at most {MAX_FILE:,} bytes")
    try:
        return of_tables(tomllib.loads(data.decode("utf-8-sig")).get("signers", []))
    except (ValueError, RecursionError) as exc:
        raise TrustFault(f"not TOML: {exc}") from exc


def of_tables(tables: Any) -> Signers:
    """Signers of the tables of a file. Raises TrustFault naming the entry."""
    try:
        entries = msgspec.convert({"signers": tables}, _File).signers
    except msgspec.ValidationError as exc:
        raise TrustFault(
            f"`signers`: {exc}", hint="[[signers]] with name, key, and not_before, not_after, revoked_at (with a zone)"
        ) from exc
    return Signers(_signer(entry) for entry in entries)


def _signer(entry: _Entry) -> Signer:
    try:
        key = PublicKey.from_pem(entry.key.encode())
    except KeyFault as exc:
        raise TrustFault(f"`signers`: the key of {entry.name!r}: {exc}", hint=exc.hint) from exc
    return Signer(
        name=entry.name,
        key=key,
        not_before=entry.not_before,
        not_after=entry.not_after,
        revoked_at=entry.revoked_at,
        native_code=entry.native_code,
    )


def to_tables(signers: Signers) -> dict[str, Any]:
    """The list as tables for a TOML file, which `parse` reads."""
    return {"signers": [_table(signer) for signer in signers]}


def _table(signer: Signer) -> dict[str, Any]:
    times = {name: getattr(signer, name) for name in ("not_before", "not_after", "revoked_at")}
    table = {"name": signer.name, "key": signer.key.pem} | {name: time for name, time in times.items() if time}
    return table | ({"native_code": True} if signer.native_code else {})

"""The deployments that were made from here: which cluster each is in. Without any, no cluster is ever asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from enarx_deploy import paths
from enarx_deploy.errors import UsageError

_PLACE = "kubernetes"


class Known(msgspec.Struct, frozen=True):
    """One deployment: the Keep's name, the cluster by context and file, and its place there."""

    name: str
    context: str
    kubeconfig: str
    namespace: str
    object: str


def remember(known: Known) -> None:
    """Keep it, in the place of what was known of it."""
    paths.write_atomically(_file(known), msgspec.json.encode(known))


def forget(known: Known) -> None:
    """It is gone from its cluster."""
    _file(known).unlink(missing_ok=True)


def everything() -> Iterator[Known]:
    """All that are known, by the order of their names."""
    for path in sorted(paths.state_dir(_PLACE).glob("*.json")):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=Known)
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}", hint="remove it, and deploy anew") from error


def named(name: str) -> Known:
    """The deployment of that name. Raises UsageError where there is none, or more than one."""
    found = [known for known in everything() if name in (known.name, known.object)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no deployment {name!r} was made from here to a cluster", hint="`enarx-deploy keeps` lists them"
        )
    places = ", ".join(f"{known.namespace} of {known.context}" for known in found)
    raise UsageError(f"{name!r} is in {len(found)} places: {places}", hint="give them different names in [deploy.NAME]")


def _file(known: Known) -> Path:
    place = "\0".join((known.context, known.namespace, known.object))
    return paths.state_dir(_PLACE) / f"{hashlib.sha256(place.encode()).hexdigest()[:24]}.json"

"""Speaking to a Drawbridge with the user's login, as commands and the registry provider do.

`ENARX_INSECURE_AUTH_TOKEN` is a token that goes before any login, `ENARX_CREDENTIAL_HELPER` a program that has the
tokens, `ENARX_CA_BUNDLE` a PEM file with the only roots that are believed: all three as in Enarx. `--registry-roots`
goes before the last. The token goes to the
registry that the user named for it alone, by `--host` or `ENARX_REGISTRY`: a reference may come from anybody. So does
the token of a CI job (`enarx_deploy.job_identity`), which goes before any login too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import job_identity, paths
from enarx_deploy import reference as references
from enarx_deploy.errors import NotPublished, PackageError, RegistryError
from enarx_drawbridge.client.errors import ClientFault, Damaged, NotThere, Withdrawn
from enarx_drawbridge.errors import Malformed

if TYPE_CHECKING:
    from enarx_drawbridge.client.connection import Connection, Place
    from enarx_drawbridge.client.logins import Logins

TOKEN = "ENARX_INSECURE_AUTH_TOKEN"  # noqa: S105 — the name of a variable
HELPER = "ENARX_CREDENTIAL_HELPER"
ROOTS = "ENARX_CA_BUNDLE"


def logins() -> Logins:
    """The user's logins. Raises UsageError if others can write there."""
    from enarx_drawbridge.client.logins import Logins

    return Logins(paths.state_dir("logins"), os.environ.get(HELPER, ""))


def roots() -> Path | None:
    """The PEM file with the only roots that are believed, where the user named one."""
    named = references.named_roots.get() or os.environ.get(ROOTS)
    return Path(named) if named else None


@contextlib.contextmanager
def connected(host: str, *, in_clear: bool = False, not_there: str = "") -> Iterator[Connection]:
    """A connection; what goes wrong on it is an error of ours. `not_there` says what to do where nothing is found.

    Raises NotPublished, PackageError, RegistryError.
    """
    from enarx_drawbridge.client import connection

    place = connection.Place(host, in_clear, roots())
    try:
        with connection.connected(_with_token(place), logins()) as opened:
            yield opened
    except Withdrawn as fault:
        hint = "whoever has its digest can still name it: …@sha256:HEX"
        raise NotPublished(f"{fault}: {fault.reason}", hint=hint) from fault
    except NotThere as fault:
        raise NotPublished(str(fault), hint=fault.hint or not_there) from fault
    except Damaged as fault:
        raise PackageError(str(fault), hint=fault.hint) from fault
    except Malformed as fault:
        raise RegistryError(f"{host} does not answer as a Drawbridge: {fault}", hint="is it the right host?") from fault
    except ClientFault as fault:
        raise RegistryError(str(fault), hint=fault.hint) from fault


def _with_token(place: Place) -> Place:
    """The place, with the token of the environment if it is the registry that the user named."""
    given = os.environ.get(TOKEN, "")
    token = given or job_identity.for_registry(place.host)
    if not token:
        return place
    scheme, _, named = references.default_registry().rpartition("://")
    if named.rstrip("/").lower() != place.host.lower() or scheme.startswith("oci"):
        return place._replace(
            token_hint=f"{TOKEN} goes to the registry alone that --host or {references.HOST_VARIABLE} names;"
            f" or `enarx-deploy user login {place.host}`"
        )
    in_clear = scheme.endswith(references.IN_CLEAR)
    hint = f"on this machine {references.HOST_VARIABLE}=drawbridge+http://{place.host} allows it; else use TLS"
    return place._replace(token=token, token_in_clear=in_clear, token_hint=hint)

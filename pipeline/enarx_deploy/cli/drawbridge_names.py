"""What a command line calls registries, users and repositories of a Drawbridge, and the records that these have."""

from __future__ import annotations

import re
from typing import Any

from enarx_deploy.cli.context import Context
from enarx_deploy.errors import RegistryError, UsageError
from enarx_deploy.reference import HOST_VARIABLE, Reference

_USER = re.compile(r"[0-9A-Za-z]+")


def registry_of(context: Context, host: str) -> Reference:
    """A registry by HOST, or that of `--host`. Raises UsageError."""
    return _below(context, host, "a/b", "")


def user_of(context: Context, name: str) -> Reference:
    """A user by [HOST/]NAME, with the name for the path. Raises UsageError."""
    host, _, user = name.rpartition("/")
    if not _USER.fullmatch(user):
        raise UsageError(f"{name}: {user!a} is not a user's name", hint="it has letters and digits alone")
    return _below(context, host, f"{user}/a", user)


def repository_of(context: Context, name: str) -> Reference:
    """A repository by [HOST/]USER/NAME. Raises UsageError."""
    named = context.reference(name)
    if named.scheme.partition("+")[0] != "drawbridge" or named.tag or named.digest or named.path.count("/") != 1:
        raise UsageError(f"{name} is not a repository of a Drawbridge", hint="write [HOST/]USER/NAME")
    return named


def record(body: bytes, host: str) -> dict[str, Any]:
    """A record as a registry has it. Raises RegistryError."""
    import msgspec

    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{host} does not answer as a Drawbridge: {error}", hint="is it the right host?") from error


def _below(context: Context, host: str, slug: str, path: str) -> Reference:
    host = host or context.registry_host
    if not host:
        raise UsageError(
            "say at which registry", hint=f"name HOST, or give --host or {HOST_VARIABLE}; none is built in"
        )
    scheme = "" if "://" in host else "drawbridge://"
    named = context.reference(f"{scheme}{host.rstrip('/')}/{slug}")
    if named.scheme.partition("+")[0] != "drawbridge":
        raise UsageError(f"{host} is not a Drawbridge", hint="log in with the registry's own tool")
    return Reference(named.scheme, named.host, path, "", "")

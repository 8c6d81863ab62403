"""Logins at registries: a file for each, for the user alone; or a credential helper, as Enarx has it.

A helper is a program that is called with `show ID`, and prints the token, or with `insert ID`, and reads it from its
standard input. The token is in no file then, and never in an argument. ID is `OIDC-HOST-REGISTRY-HOST`.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from enarx_files.turns import turn
from enarx_files.whole import write_atomically

from .errors import Refused

MAX_TOKEN: Final = 16_384
MAX_FILE: Final = 65_536
HELPER_SECONDS: Final = 60
MARGIN: Final = 30
"""Seconds before its end from which on a token is no longer used."""


class Login(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A login. With `helper`, the helper has the token; `expires` is in seconds since 1970, 0 if it is not known.

    `scheme` is how the registry was spoken to when it was made: one that was made by `https` never goes in clear.
    `host` is the registry that it is for; the names of files cannot tell all of them apart.
    """

    issuer: str
    client_id: str
    audience: str
    access_token: str = ""
    refresh_token: str = ""
    expires: int = 0
    helper: str = ""
    scheme: str = "https"
    host: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether the access token is no longer to be used."""
        return 0 < self.expires <= time.time() + MARGIN


class Logins:
    """The logins in a directory, which is the user's alone. `helper` goes before what a login names."""

    def __init__(self, directory: Path, helper: str = "") -> None:
        self._directory = directory
        self._helper = helper

    def find(self, host: str) -> Login | None:
        """The login at a registry, its token with it."""
        login = self._read(host)
        helper = self._helper or (login.helper if login else "")
        if helper and login is not None:
            return msgspec.structs.replace(login, access_token=_show(helper, _id(login.issuer, host)))
        return login

    @contextlib.contextmanager
    def turn(self, host: str) -> Iterator[None]:
        """Hold this while a login is renewed: the provider may take each refresh token once. Raises `Refused`."""
        try:
            with turn(self._path(host)):
                yield
        except OSError as error:
            raise Refused(
                f"the login at {host} cannot be renewed: {error.strerror or error}", hint=f"see {self._directory}"
            ) from error

    def keep(self, host: str, login: Login) -> None:
        """Keep a login, in the place of the one before. Raises `Refused` if the helper fails."""
        if login.helper:
            _insert(login.helper, _id(login.issuer, host), login.access_token)
            login = msgspec.structs.replace(login, access_token="", refresh_token="")
        write_atomically(self._path(host), msgspec.json.encode(msgspec.structs.replace(login, host=host)))

    def forget(self, host: str) -> bool:
        """Forget a login; whether there was one. A helper's own store stays as it is."""
        there = self._read(host) is not None
        if there:
            self._path(host).unlink(missing_ok=True)
        return there

    def _read(self, host: str) -> Login | None:
        try:
            with self._path(host).open("rb") as file:
                login = msgspec.json.decode(file.read(MAX_FILE), type=Login)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise Refused(
                f"{self._path(host)} cannot be read", hint=f"remove it, then `enarx-deploy user login {host}`"
            ) from error
        return login if login.host in ("", host) else None

    def _path(self, host: str) -> Path:
        return self._directory / f"{re.sub(r'[^0-9A-Za-z.-]', '_', host)}.json"


def _id(issuer: str, host: str) -> str:
    return f"{urlsplit(issuer).hostname or issuer}-{host}"


def _show(helper: str, name: str) -> str:
    return _run(helper, "show", name).strip()


def _insert(helper: str, name: str, token: str) -> None:
    _run(helper, "insert", name, token)


def _run(helper: str, verb: str, name: str, given: str = "") -> str:
    try:
        ended = subprocess.run(
            [helper, verb, name], input=given, capture_output=True, text=True, timeout=HELPER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeError) as error:
        raise Refused(f"the credential helper {helper} does not run: {error}", hint="is it on PATH?") from error
    if ended.returncode or len(ended.stdout) > MAX_TOKEN:
        raise Refused(f"the credential helper {helper} failed at {verb} {name}", hint="run it by hand to see why")
    return ended.stdout


Source = Callable[[], str]
"""Gives a token, or nothing if there is no login."""

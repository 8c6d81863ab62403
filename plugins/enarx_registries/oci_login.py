"""Logins for OCI registries: where docker, podman and oras keep them, and how a registry asks for them.

Looked through in this order, the first that knows the registry counts:

1. `$REGISTRY_AUTH_FILE`
2. `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`, where docker and oras log in
3. `$XDG_RUNTIME_DIR/containers/auth.json`, where podman, skopeo and buildah log in
4. `$XDG_CONFIG_HOME/containers/auth.json`

In each: the helper of `credHelpers`, the entry of `auths`, then the helper of `credsStore`. A helper is a program
`docker-credential-NAME`, which is asked over its standard input. Nothing is written, and no message shows a password.
These files keep no scheme, save where an entry's name is a URL.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from enarx_deploy import job_identity, reference
from enarx_deploy.errors import RegistryError

_FILE_LIMIT = 1 << 20
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHALLENGE_PART = re.compile(
    r'(?P<name>[A-Za-z]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^",\s]+))|(?P<scheme>[A-Za-z][A-Za-z0-9-]*)'
)  # a parameter, else a scheme
_HELPER_PATIENCE = 60.0  # seconds; it may have to ask the user
_TOKEN_USER = "<token>"  # noqa: S105  # what a helper calls the user of an identity token
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"


@dataclass(frozen=True, repr=False)
class Login:
    """A user's name and password, or an identity token, which a token service takes in their place.

    `scheme` is `https` or `http` where the file says for which of them the login is, else "".
    """

    user: str = ""
    password: str = ""
    identity_token: str = ""
    scheme: str = ""

    def basic(self) -> str:
        """The value of an Authorization header."""
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


@dataclass(frozen=True)
class Challenge:
    """What a registry asks for: `scheme` in lower case, and its parameters (RFC 9110, section 11.6.1)."""

    scheme: str
    parameters: dict[str, str]


class Entry(msgspec.Struct, frozen=True):
    """What a file holds for one registry."""

    auth: str = ""
    identitytoken: str = ""


class Config(msgspec.Struct, frozen=True):
    """A file of logins, as far as it is read."""

    auths: dict[str, Entry] = {}
    cred_helpers: dict[str, str] = msgspec.field(default_factory=dict, name="credHelpers")
    creds_store: str = msgspec.field(default="", name="credsStore")


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    username: str = ""
    secret: str = ""


def find(host: str, repository: str) -> Login | None:
    """The login for a repository, or None where nobody has logged in. Raises RegistryError for a file or a helper.

    The token of a CI job goes before all files, to the registry that was named for it.
    """
    if token := job_identity.for_registry(host):
        in_clear = reference.default_registry().partition("://")[0].endswith(reference.IN_CLEAR)
        return Login(identity_token=token, scheme="http" if in_clear else "https")
    for path in _files():
        found = _in(path, _keys(host, repository))
        if found is not None:
            return found
    return None


def challenges(headers: list[str]) -> list[Challenge]:
    """The challenges of WWW-Authenticate headers, of which one may hold several, the strange parts of them left out."""
    found: list[Challenge] = []
    for header in headers:
        of_this: list[Challenge] = []
        for part in _CHALLENGE_PART.finditer(header[:4096]):
            if part["scheme"]:
                of_this.append(Challenge(part["scheme"].lower(), {}))
            elif of_this:
                value = re.sub(r"\\(.)", r"\1", part["quoted"] or "") or part["plain"] or ""
                of_this[-1].parameters[part["name"].lower()] = value
        found += of_this
    return found


def _files() -> Iterator[Path]:
    home = Path.home()
    named = os.environ.get("REGISTRY_AUTH_FILE")
    if named:
        yield Path(named)
    yield Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers/auth.json"
    yield Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json"


def _keys(host: str, repository: str) -> list[str]:
    """What a file may call a repository, the most exact first: podman's files name repositories, too."""
    parts = [host, *repository.split("/")]
    names = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    urls = [f"{scheme}://{host}{end}" for scheme in ("https", "http") for end in ("", "/", "/v1/", "/v2/")]
    return [*names, *urls, *([_DOCKER_HUB_KEY] if host in _DOCKER_HUB else [])]


def _in(path: Path, keys: list[str]) -> Login | None:
    config = _config(path)
    if config is None:
        return None
    for key in keys:
        if helper := config.cred_helpers.get(key):
            return _ask(helper, key)
        entry = config.auths.get(key)
        if entry is not None and (entry.auth or entry.identitytoken):
            return replace(login(entry, str(path)), scheme=key.rpartition("://")[0])
    return (
        _ask(config.creds_store, keys[-1] if keys[-1] == _DOCKER_HUB_KEY else _host(keys))
        if config.creds_store
        else None
    )


def _host(keys: list[str]) -> str:
    return next(key for key in keys if "/" not in key)


def _config(path: Path) -> Config | None:
    try:
        with path.open("rb") as file:
            return read(file.read(_FILE_LIMIT + 1), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}", hint="this is where logins are looked for") from error


def read(data: bytes, shown: str) -> Config:
    """The logins in a file, which messages call `shown`. Raises RegistryError."""
    try:
        if len(data) > _FILE_LIMIT:
            raise msgspec.ValidationError("it is too large")
        return msgspec.json.decode(data or b"{}", type=Config)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(
            f"{shown} does not hold logins: {error}", hint="mend it, or log in again with the tool that wrote it"
        ) from error


def login(entry: Entry, shown: str) -> Login:
    """The login of an entry. Raises RegistryError."""
    try:
        user, _, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
    except ValueError as error:  # base64 or UTF-8 that is none
        raise RegistryError(
            f"{shown} holds a damaged login", hint="log in again with the tool that wrote it"
        ) from error
    return Login(user, password.rstrip("\0"), entry.identitytoken)


def _ask(helper: str, server: str) -> Login | None:
    if not _HELPER.fullmatch(helper):
        raise RegistryError(f"{helper!a} is not the name of a credential helper", hint="mend the file of logins")
    program = f"docker-credential-{helper}"
    try:
        ended = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_PATIENCE, check=False
        )
    except FileNotFoundError as error:
        raise RegistryError(f"{program} is not installed", hint="the file of logins names it: install it") from error
    except subprocess.TimeoutExpired as error:
        raise RegistryError(f"{program} did not answer in {_HELPER_PATIENCE:.0f} s", hint="unlock its store") from error
    if ended.returncode:
        if b"not found" in ended.stdout:
            return None
        said = " ".join(ended.stdout.decode(errors="replace").split())[:200]
        raise RegistryError(f"{program} failed: {said!a}", hint="unlock its store, or log in again")
    try:
        answer = msgspec.json.decode(ended.stdout[:_FILE_LIMIT], type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{program} answered with what is no login", hint="is it a credential helper?") from error
    if answer.username == _TOKEN_USER:
        return Login(identity_token=answer.secret)
    return Login(answer.username, answer.secret)

"""Where a project's sources are from: the commit that is checked out, and whether anything differs from it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import msgspec

from enarx_deploy.errors import UsageError

_SECONDS = 60
_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9]{1,12})")
_LATEST = 253402300799  # the last second of the year 9999
_STATUS = (
    *("status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=dirty"),
    *("--", ".", ":(exclude).enarx"),
)
_STARTS_NOTHING = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "log.showSignature": "false",  # which `gpg.program` would check
}
_FETCHES_NOTHING = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
_FILTERS = r"^filter\..*\.(clean|process|required)$"


class Source(msgspec.Struct, frozen=True):
    """A state of sources. Without a repository `revision` is empty and `dirty` unknown.

    What is in no commit of a submodule is not looked at.

    `moment` is the date that everything made from it bears: SOURCE_DATE_EPOCH, else that of the commit, else none.
    `repository` is the URL from which it was cloned, without a name or password in it.
    """

    revision: str = ""
    dirty: bool | None = None
    moment: datetime | None = None
    repository: str = ""


def find_source(root: Path) -> Source:
    """The state of the sources in `root`. Raises UsageError if SOURCE_DATE_EPOCH is no date."""
    epoch = _source_date_epoch()
    found = _COMMIT.fullmatch(_git(root, "log", "-1", "--format=%H %ct") or "")
    if found is None:
        return Source(moment=epoch)
    changed = _git(root, *_STATUS, settings=_no_filters(root))
    commit_date = datetime.fromtimestamp(min(int(found[2]), _LATEST), UTC)
    return Source(
        revision=found[1],
        dirty=None if changed is None else bool(changed),
        moment=epoch or commit_date,
        repository=_without_credentials(_git(root, "config", "--get", "remote.origin.url") or ""),
    )


def source_date(root: Path) -> int:
    """The date that what is made from the sources in `root` bears, in seconds since 1970; 0 if there is none."""
    moment = find_source(root).moment
    return 0 if moment is None else int(moment.timestamp())


def _source_date_epoch() -> datetime | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) <= _LATEST):
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!a}", hint="it is a number of seconds since 1970")
    return datetime.fromtimestamp(int(text), UTC)


def _no_filters(root: Path) -> dict[str, str]:
    """Settings by which git reads files as they are. What went through a filter may then seem to be changed."""
    named = _git(root, "config", "--null", "--name-only", "--get-regexp", _FILTERS) or ""
    return {key: "false" if key.endswith(".required") else "" for key in named.split("\0") if key}


def _git(root: Path, *words: str, settings: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """What git says; None where it fails: there is no git, no repository, no commit, or not enough time.

    No program that the repository's settings name is started, nothing is fetched, and its index is not written.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"} | _FETCHES_NOTHING | _as_environment(settings)
    try:
        ended = subprocess.run(
            ["git", *words],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.decode(errors="replace").strip() if ended.returncode == 0 else None


def _as_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings that go before the repository's. As words (`-c`) a key could not have an equals sign."""
    found = list((_STARTS_NOTHING | dict(settings)).items())
    numbered = {f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in enumerate(found)}
    numbered |= {f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in enumerate(found)}
    return {"GIT_CONFIG_COUNT": str(len(found))} | numbered


def _without_credentials(url: str) -> str:
    """An https or ssh URL without what stands before the host; nothing for a path on this machine."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    if parts.scheme not in ("https", "ssh") or not parts.hostname or not url.isprintable():
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"

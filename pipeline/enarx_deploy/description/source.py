"""Where a project's sources are from: the commit that is checked out, and whether anything differs from it."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from enarx_deploy.errors import UsageError

_SECONDS = 60
_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9]{1,12})")
_LATEST = 253402300799  # the last second of the year 9999


class Source(msgspec.Struct, frozen=True):
    """A state of sources. Without a repository `revision` is empty and `dirty` unknown.

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
    found = _COMMIT.fullmatch(_git(root, "log", "-1", "--format=%H %ct"))
    if found is None:
        return Source(moment=epoch)
    changed = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", ".", ":(exclude).enarx")
    commit_date = datetime.fromtimestamp(min(int(found[2]), _LATEST), UTC)
    return Source(
        revision=found[1],
        dirty=bool(changed),
        moment=epoch or commit_date,
        repository=_without_credentials(_git(root, "config", "--get", "remote.origin.url")),
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


def _git(root: Path, *words: str) -> str:
    """What git says, or nothing where there is no git, no repository or no commit.

    No program that the repository's settings name is started, and its index is not written.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *words]
    try:
        ended = subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.decode(errors="replace").strip() if ended.returncode == 0 else ""


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

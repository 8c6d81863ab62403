"""Answers for a command that would find nothing changed, without importing what the command needs.

A *stamp* is a file in `.enarx/unchanged` that `remember` has written. It holds what the command printed when it found
nothing changed, and what the system said then of every file and folder that this came from. It is taken only if

1. the words, the environment, the directory, this Python and its path are the same: they name the file;
2. the file is this user's alone, and bears a code (HMAC) by the key of this user's records, so that a project that came
   from elsewhere cannot bring one that counts;
3. nobody is at work in the project; and
4. the system says the same of each file and folder: device, number, kind, rights, owner, size, and both times, of which
   a program can set one (`ctime` it cannot).

Whatever else is found, no answer is given, and the command runs. A stamp is only ever printed: what is packaged,
deployed or attested goes by digests that are taken of the files themselves.

Nothing is imported at the top that Python has not loaded by itself.
"""

from __future__ import annotations

import os
import sys

from enarx_deploy import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

COMMANDS = ("compile",)
FOLDER = "unchanged"
"""In `.enarx`."""
LIMIT = 4 << 20
"""Bytes of the largest stamp."""

_KEY_BYTES = 32
_LABEL = b"enarx-deploy stamp 1\0"
_CODE = 64  # hex digits of a stamp's code, and of its name
_OF_SHELLS = ("_", "SHLVL", "OLDPWD")  # change from line to line, and mean nothing to what is started


class Asked:
    """What was asked, as far as it can be told before anything is parsed.

    `work_dir` is that of the project, `about` everything outside of files that the answer depends on.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.work_dir = os.path.join(_directory(words), ".enarx")  # noqa: PTH118 - pathlib is not loaded
        environment = sorted(pair for pair in os.environ.items() if pair[0] not in _OF_SHELLS)
        python = (sys.version, sys.executable, sys.flags, sys.path)
        listens = (sys.stdout.isatty(), sys.stderr.isatty())
        facts = (__version__, os.geteuid(), os.getcwd(), list(words), environment, python, listens)  # noqa: PTH109 - pathlib is not loaded
        self.about = repr(facts).encode(errors="surrogatepass")

    def path(self, key: bytes) -> str:
        """Where its stamp is, or would be."""
        return f"{self.work_dir}/{FOLDER}/{code(key, self.about)}"


def asked(words: Sequence[str]) -> Asked | None:
    """What was asked, if a stamp could answer it."""
    if not any(command in words for command in COMMANDS) or sys.stdout is None or sys.stderr is None:
        return None
    try:
        return Asked(words)
    except (OSError, ValueError):  # the current directory is gone, or a stream closed
        return None


def answer(asked: Asked) -> bool:
    """Print what was printed when nothing had changed, and say so; False, and nothing printed, if in any doubt."""
    try:
        stamp = _stamp(asked)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if stamp is None:
        return False
    sys.stderr.write(stamp["stderr"])
    sys.stderr.flush()
    sys.stdout.write(stamp["stdout"])
    return True


def code(key: bytes, *parts: bytes) -> str:
    """The keyed code of some bytes."""
    import hmac

    return hmac.digest(key, _LABEL + b"".join(len(part).to_bytes(8, "big") + part for part in parts), "sha256").hex()


def key() -> bytes:
    """The key of this user's records, which only this user can have written. Raises OSError, ValueError."""
    found = _private(f"{state_dir()}/records.key", _KEY_BYTES)
    if len(found) != _KEY_BYTES:
        raise ValueError("no key")
    return found


def state_dir() -> str:
    """Where `paths.state_dir` is on Linux; a stamp is written only if it is there."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 - pathlib is not loaded
    return os.environ.get("ENARX_DEPLOY_STATE_DIR") or f"{home}/enarx-deploy"


def state(path: str) -> list[int]:
    """What changes with a file or a folder; nothing for one that is not there. Raises OSError."""
    try:
        now = os.stat(path)  # noqa: PTH116 - pathlib is not loaded
    except (FileNotFoundError, NotADirectoryError):
        return []
    kind = [now.st_dev, now.st_ino, now.st_mode, now.st_uid, now.st_gid]
    return [*kind, now.st_size, now.st_mtime_ns, now.st_ctime_ns]


def _stamp(asked: Asked) -> dict[str, Any] | None:
    import json
    from hmac import compare_digest

    secret = key()
    path = asked.path(secret)
    stored = _private(path, LIMIT)
    bears, body = stored[:_CODE], stored[_CODE:]
    if not compare_digest(bears, code(secret, asked.about, body).encode()):
        return None
    stamp: dict[str, Any] = json.loads(body)
    return stamp if _nobody_at_work(asked.work_dir) and _as_it_was(stamp["states"]) else None


def _as_it_was(states: dict[str, list[int]]) -> bool:
    return all(state(path) == before for path, before in states.items())


def _nobody_at_work(work_dir: str) -> bool:
    import fcntl

    descriptor = os.open(f"{work_dir}/lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _private(path: str, limit: int) -> bytes:
    """The content of a file that is this user's, and that nobody else can read or write."""
    import stat

    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise ValueError(f"{path} is not this user's alone")
        if status.st_size > limit:
            raise ValueError(f"{path} is too long")
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)


def _directory(words: Sequence[str]) -> str:
    """The project's directory, as `-C` has it. Read wrongly, it is one that has no stamp for these words."""
    found = os.environ.get("ENARX_DEPLOY_DIRECTORY") or "."
    for at, word in enumerate(words):
        if word in ("-C", "--directory"):
            found = "".join(words[at + 1 : at + 2])
        elif word.startswith("--directory="):
            found = word.partition("=")[2]
        elif word.startswith("-C"):
            found = word[2:]
    return found

"""A tool that is run for a build: its lines are passed on as they come, its first error becomes the BuildError."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from weakref import WeakSet

from enarx_deploy.errors import BuildError
from enarx_deploy.protocols import Progress
from enarx_deploy.tools import environment_without_secrets
from enarx_languages.silence import Silence

Lines = Sequence[str]
FirstError = Callable[[Lines], str]
"""Finds, in all that a tool printed, its first error with file and place, in one line; "" where there is none."""

_PLACED = re.compile(r"^\S.*?:\d+(:\d+)?: (fatal )?error(\[\w+\])?: ")
_ERROR = re.compile(r"^(?!\s*warning\b).*\berror\b", re.IGNORECASE)
_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_REPRODUCIBLE = {
    "SOURCE_DATE_EPOCH": "315532800",  # 1 January 1980, the earliest date that every kind of archive can hold
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
}
_CONFINED = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child"),
)
"""Starts a tool so that the kernel ends it, and all that it has started, with this process or on its being killed."""
_NO_NETWORK = "--net"
_NOT_CUT_OFF = "this system lets no user take the network away (`unshare` is refused): the build has it"
_told: WeakSet[Progress] = WeakSet()
"""Builds, by what they tell their progress to, that know that they are not cut off."""
_KEPT_LINES = 100_000
_MISSES_NETWORK = re.compile(
    r"offline|GOPROXY|go\.sum|no required module|dial tcp|download|resolve host|name resolution|getaddrinfo|EAI_AGAIN",
    re.I,
)


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    progress: Progress,
    environment: Mapping[str, str] | None = None,
    network: bool = False,
    first_error: FirstError | None = None,
    shown: Callable[[str], str] = str,
    slow_because: str = "",
    advice: Callable[[Lines], str] = lambda _lines: "",
) -> None:
    """Run a tool in `cwd`, with `environment` laid over this process's own. Nothing that it starts outlives the call.

    Without `network` it is cut off from any, where the system lets a user do that; where not, `progress` is told
    once in a build. `shown` makes of each line what is passed on, and may make nothing of it. A long silence is told,
    with `slow_because`. Raises BuildError with the first error that the tool reports, in one line with its file and
    place, and as its hint the tool's own `advice`, if it has any.
    """
    lines: list[str] = []
    words = _confined(command, cwd, progress, network=network)
    process = _started(words, command[0], cwd, environment or {})
    with process, Silence(Path(command[0]).name, progress, slow_because) as silence:
        try:
            for line in process.stdout or ():
                silence.broken()
                if said := _plain(shown(line.rstrip())):
                    lines.append(said)
                    del lines[_KEPT_LINES:]
                    progress(said)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so that no other group can have its number
    if process.returncode != 0:
        found = first_error(lines) if first_error else ""
        raise BuildError(
            found or placed_error(lines) or f"{command[0]} ended with status {process.returncode}",
            hint=advice(lines) or _hint(lines, network),
        )


def placed_error(lines: Lines) -> str:
    """The first error with a place in a source, else the first that is called one, else the last line."""
    for pattern in (_PLACED, _ERROR):
        for line in lines:
            if pattern.search(line):
                return line.strip()
    return lines[-1] if lines else ""


def matched(pattern: re.Pattern[str], lines: Lines) -> str:
    """The first place where a pattern of one or more lines matches, as `FILE:LINE:COLUMN: error: WORDS`.

    The pattern has the groups `file`, `line` and `words`, and may have `column`.
    """
    found = pattern.search("\n".join(lines))
    if found is None:
        return ""
    place = [found["file"], found["line"], found.groupdict().get("column")]
    return f"{':'.join(part for part in place if part)}: error: {' '.join(found['words'].split())}"


def _hint(lines: Lines, network: bool) -> str:
    if not network and any(_MISSES_NETWORK.search(line) for line in lines):
        return "the build has no network; `network = true` in [build], or --set build.network=true, gives it that"
    return "`enarx-deploy -v compile` shows all that the tool says"


def _started(command: Sequence[str], name: str, cwd: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env={**_REPRODUCIBLE, **environment_without_secrets(), "LC_ALL": _REPRODUCIBLE["LC_ALL"], **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"cannot start {name}: {error.strerror}", hint="is it installed?") from error


def _confined(command: Sequence[str], cwd: Path, progress: Progress, *, network: bool) -> Sequence[str]:
    """The command where it can reach none of this machine's processes and, without `network`, nobody."""
    name = command[0]
    if shutil.which(cwd / name if os.sep in name else name) is None:
        return command  # so that it is this program that says what cannot be started
    if _can_confine():
        return (*_CONFINED, *(() if network else (_NO_NETWORK,)), "--", *command)
    if not network and progress not in _told:
        _told.add(progress)
        progress(_NOT_CUT_OFF)
    return command


@functools.cache
def _can_confine() -> bool:
    words = (*_CONFINED, _NO_NETWORK, "--", "true")
    try:
        return subprocess.run(words, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _plain(line: str) -> str:
    """A line without colours; nothing that a source file smuggles into a message may steer the terminal."""
    line = _CONTROL_SEQUENCE.sub("", line).expandtabs()
    return "".join(c if c.isprintable() else "\ufffd" for c in line)

"""The systemd unit of a deployment: it starts its service process with the machine, and again if that dies.

    user      $XDG_CONFIG_HOME/systemd/user/enarx-deploy-ID.service
    system    /etc/systemd/system/enarx-deploy-ID.service

The Keeps do not depend on their service process, so that the unit lets them live where that dies and the next one takes
them over; when the unit is stopped, it ends them itself.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from enarx_deploy import paths
from enarx_deploy.errors import KeepError, UsageError
from enarx_deploy.host import state

Scope = Literal["user", "system"]
_LIMIT = 60.0  # seconds that systemctl may take
_ENVIRONMENT = ("ENARX_DEPLOY_STATE_DIR", "ENARX_DEPLOY_CACHE_DIR", "ENARX_DEPLOY_COLLATERAL_STORE", "PYTHONPATH")

_UNIT = """\
[Unit]
Description=Keeps of {described}, by enarx-deploy
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart={command}
{environment}# The Keeps go on where this process dies; the next one takes them over, and ends them when it is stopped.
KillMode=process
Restart=on-failure
RestartSec=1
TimeoutStopSec=30
# What [deploy.NAME.local] memory and cpu need.
Delegate=yes
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0077
{hardening}
[Install]
WantedBy={target}
"""
_HARDENING = """\
User={user}
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
AmbientCapabilities=CAP_NET_BIND_SERVICE
ProtectSystem=strict
ReadWritePaths={writable}
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
"""


@dataclass(frozen=True)
class Unit:
    """The unit of one deployment, for its user's systemd or for that of the machine."""

    name: str
    scope: Scope

    @property
    def unit(self) -> str:
        """What systemd calls it."""
        return f"enarx-deploy-{state.service_identity(self.name)}.service"

    @property
    def path(self) -> Path:
        """Its file."""
        if self.scope == "system":
            return Path("/etc/systemd/system") / self.unit
        config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return Path(config) / "systemd" / "user" / self.unit

    @property
    def installed(self) -> bool:
        """Whether its file is there."""
        return self.path.is_file()

    def text(self) -> str:
        """What its file says. Raises UsageError for a name that no unit can bear."""
        if not self.name.isprintable():
            raise UsageError(
                f"the name {self.name!r} cannot stand in a unit", hint="give the deployment another `name`"
            )
        command = " ".join(map(_quoted, [sys.executable, "-m", "enarx_deploy", "service", "run", self.name]))
        known = [(name, os.environ[name]) for name in _ENVIRONMENT if os.environ.get(name)]
        if odd := [name for name, value in known if not value.isprintable()]:
            raise UsageError(f"{odd[0]} of the environment cannot stand in a unit", hint="unset it, or name another")
        environment = "".join(f"Environment={_quoted(f'{name}={value}', dollar='$')}\n" for name, value in known)
        hardening = ""
        if self.scope == "system":
            writable = " ".join(_quoted(str(place), dollar="$") for place in (paths.state_dir(), paths.cache_dir()))
            hardening = _HARDENING.format(user=pwd.getpwuid(os.geteuid()).pw_name, writable=writable)
        return _UNIT.format(
            described=self.name.replace("%", "%%"),
            command=command,
            environment=environment,
            hardening=hardening,
            target="multi-user.target" if self.scope == "system" else "default.target",
        )

    def install(self) -> str:
        """Write the unit, have it started with the machine, and start it. Answers what is left for the user to do.

        Raises UsageError, KeepError; then there is no unit.
        """
        text = self.text()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            paths.write_atomically(self.path, text.encode(), mode=0o644)
            self._verify()
        except OSError as error:
            raise KeepError(f"{self.path} cannot be written: {error.strerror}", hint=_RIGHTS[self.scope]) from error
        except KeepError:
            self.path.unlink(missing_ok=True)
            raise
        return self._enable()

    def uninstall(self) -> None:
        """Remove the unit. Raises UsageError where there is none."""
        if not self.installed:
            raise UsageError(
                f"{self.name} has no {self.scope} unit", hint="`enarx-deploy service status` shows what it has"
            )
        self._systemctl("disable", self.unit)
        self.path.unlink()
        self._systemctl("daemon-reload")

    def state(self, question: Literal["is-enabled", "is-active"]) -> str:
        """What systemd answers, such as `enabled` or `inactive`; `unknown` where there is none to ask."""
        return self._systemctl(question, self.unit).stdout.strip() or "unknown"

    def restart(self) -> bool:
        """Have systemd start the unit anew, if it is installed and there is a systemd to do so."""
        return self.installed and self._systemctl("restart", self.unit).returncode == 0

    def _verify(self) -> None:
        if (tool := shutil.which("systemd-analyze")) is None:
            return
        words = [tool, "verify", *(["--user"] if self.scope == "user" else []), str(self.path)]
        with tempfile.TemporaryDirectory() as runtime:  # which it wants to have, and nobody has before the first login
            done = _run(words, {"XDG_RUNTIME_DIR": runtime, **os.environ})
        if done.returncode != 0:
            raise KeepError(f"systemd does not take the unit: {done.stderr.strip()}", hint="this is a fault: report it")

    def _enable(self) -> str:
        self._systemctl("daemon-reload")
        enabled = self._systemctl("enable", self.unit)
        if enabled.returncode != 0:
            raise KeepError(f"the unit cannot be enabled: {enabled.stderr.strip()}", hint=_RIGHTS[self.scope])
        if self._systemctl("start", self.unit).returncode != 0:
            return "no systemd runs here now: it will start the deployment with the machine"
        if self.scope == "user" and not (Path("/var/lib/systemd/linger") / pwd.getpwuid(os.geteuid()).pw_name).exists():
            return "it starts when you log in; `loginctl enable-linger` has it start with the machine"
        return ""

    def _systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Raises KeepError where there is no systemctl."""
        tool = shutil.which("systemctl")
        if tool is None:
            raise KeepError(
                "systemctl is not there", hint="this machine has no systemd: start `service run` by its own init"
            )
        return _run([tool, *(["--user"] if self.scope == "user" else []), *words])


_RIGHTS: dict[Scope, str] = {
    "user": "is your home yours to write?",
    "system": "a unit of the machine takes root; leave out --system for one of your own",
}


def installed(name: str) -> Unit | None:
    """The unit of a deployment, if it has one."""
    scopes: tuple[Scope, ...] = ("user", "system")
    units = (Unit(name, scope) for scope in scopes)
    return next((unit for unit in units if unit.installed), None)


def is_ending() -> bool:
    """Whether the user's systemd or the machine's ends now, and so all that it has started, whatever anyone wants."""
    tool = shutil.which("systemctl")
    if tool is None:
        return False
    asked = ([tool, *whose, "is-system-running"] for whose in (["--user"], []))
    with contextlib.suppress(KeepError, OSError):
        return any(_run(words).stdout.strip() == "stopping" for words in asked)
    return False


def _run(words: list[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=_LIMIT, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise KeepError(
            f"{' '.join(words)} takes longer than {_LIMIT:.0f} seconds", hint="does systemd hang?"
        ) from error


def _quoted(text: str, *, dollar: str = "$$") -> str:
    """A word of a unit's line (systemd.service(5), COMMAND LINES), with nothing in it that systemd would expand."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", dollar)
    return f'"{escaped}"'

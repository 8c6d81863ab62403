"""Fixtures: an echo service that several Keeps can serve, and what it looks like from outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.end_to_end.conftest import (  # noqa: F401 - fixtures
    STDIO,
    Service,
    cli,
    echo_module,
    echo_project,
    eventually,
    service,
    up,
)
from tests.faults.load import Load, connect, request

from enarx_deploy.host import state
from enarx_deploy.host.services import Service as KnownService
from enarx_deploy.models import ALIVE, KeepStatus


@dataclass
class Deployment:
    """A deployment that serves, by its name."""

    cli: Any
    up: Callable[..., Service]
    project: Path
    first: Service

    @property
    def name(self) -> str:
        return self.project.name

    @property
    def state(self) -> Path:
        return Path(self.cli.environment["ENARX_DEPLOY_STATE_DIR"])

    def does(self, *words: str) -> Any:
        """What a command answers in JSON; it must succeed."""
        done = self.cli(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def keeps(self) -> list[dict[str, Any]]:
        """Its Keeps that have not ended."""
        return [keep for keep in self.does("keeps") if keep["state"] in ALIVE and keep["state"] != "stopping"]

    def known(self) -> list[KeepStatus]:
        """The same as it stands in their state files, for those who look again and again: a command is a process."""
        return [keep for keep in state.all_status() if keep.state in ALIVE and keep.state != "stopping"]

    def is_whole(self, replicas: int) -> bool:
        """Whether so many Keeps run, and no other is there."""
        return len(self.whole(replicas)) == replicas

    def whole(self, replicas: int) -> list[KeepStatus]:
        """So many Keeps if they run and no other is there, from one look: at the next one might have ended."""
        keeps = self.known()
        return keeps if len(keeps) == replicas and all(keep.state == "running" for keep in keeps) else []

    def scale(self, replicas: int) -> None:
        assert len(self.does("scale", self.name, str(replicas))) == replicas

    def change(self, text: str) -> None:
        """Change what is packaged, and nothing of what it does."""
        manifest = self.project / "Enarx.toml"
        before = [line for line in manifest.read_text().splitlines() if not line.startswith("args = ")]
        manifest.write_text("\n".join([f'args = ["{text}"]', *before, ""]))

    def update(self, text: str) -> None:
        self.change(text)
        self.up(self.project)

    def load(self, **how: Any) -> Load:
        return Load(self.first.port, self.first.context(), **how)

    def answers(self, root: Path | None = None) -> None:
        """One request of a new client, which trusts this root. Raises OSError where it fails."""
        with connect(self.first.port, self.first.context(root)) as client:
            request(client)

    def state_is_valid(self) -> None:
        """Every state file can be read, whole, and agrees with what there is."""
        services = [
            msgspec.json.decode(path.read_bytes(), type=KnownService)
            for path in (self.state / "services").glob("*/service.json")
        ]
        statuses = [
            msgspec.json.decode(path.read_bytes(), type=KeepStatus)
            for path in (self.state / "keeps").glob("*/state.json")
        ]
        assert [one.name for one in services] == [self.name]
        assert set(services[0].keeps) <= {status.id for status in statuses}
        assert not list(self.state.glob("**/.state.json.*"))
        assert not list(self.state.glob("**/.service.json.*"))


@pytest.fixture
def deployment(cli, up, echo_project, monkeypatch) -> Callable[..., Deployment]:  # noqa: F811 - the fixtures
    """An echo service; `extra` goes into its manifest."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", cli.environment["ENARX_DEPLOY_STATE_DIR"])

    def deploy(extra: str = "", *words: str) -> Deployment:
        project = echo_project(extra=extra)
        return Deployment(cli, up, project, up(project, *words))

    return deploy

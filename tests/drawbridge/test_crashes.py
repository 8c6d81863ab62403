"""Kill -9 at every step of publish and fetch: nothing is half there, doing it again succeeds, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from .conftest import WASM, Client, Package, make_package

KILLED = Path(__file__).with_name("killed.py")
ENVIRONMENT = ("PATH", "PYTHONPATH", "HOME")
TAG = "testuser/hello/_tag"


class Mortals:
    """Starts processes that are killed before one of their steps."""

    def __init__(self, state: Path) -> None:
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, str(KILLED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment | {"ENARX_DEPLOY_STATE_DIR": str(state), "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def start(self, *words: object) -> list[str]:
        """Start one; the words of what it says first."""
        print(*words, file=self.process.stdin, flush=True)
        return self.said()

    def said(self) -> list[str]:
        """The words of the next line."""
        return self.process.stdout.readline().split()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        self.process.wait(timeout=120)


@pytest.fixture
def mortals(tmp_path):
    """A process that starts them."""
    running = Mortals(tmp_path / "state")
    yield running
    running.close()


def package_of(point: int) -> Package:
    return make_package({"main.wasm": WASM + str(point).encode(), "Enarx.toml": str(point).encode()})


def is_seen(client: Client, package: Package, tag: str) -> bool:
    """Whether a tag is seen; then all of it is there, and else nothing."""
    if client.get(f"{TAG}/{tag}").status_code == 404:
        assert tag not in client.get(TAG).json()
        assert client.get(f"{TAG}/{tag}/tree").status_code == 404
        return False
    for path, (body, _) in package.nodes.items():
        assert client.get(f"{TAG}/{tag}/tree/{path}").content == body
    return True


def test_a_server_that_is_killed_at_any_step_of_a_publish(tmp_path, policy, provider, mortals):
    """One store for all points: each server first looks at what the one before has left, and has it done again."""
    store = tmp_path / "store"
    store.mkdir(mode=0o700)
    (store / "drawbridge.toml").write_text(policy)
    seen, ended = [], []
    for point in range(1, 200):
        url, process = mortals.start("serve", store, point)
        assert list((store / "incoming").iterdir()) == []
        with httpx.Client(trust_env=False, timeout=120) as http:
            client = Client(http, url, provider.token())
            if point == 1:
                client.register()
            else:
                before, tag = package_of(point - 1), f"1.0.{point - 1}"
                seen.append(is_seen(client, before, tag))
                assert {answer.status_code for answer in client.publish(before, tag)} <= {200, 201}
                assert is_seen(client, before, tag)
            os.kill(int(process), signal.SIGUSR1)
            try:
                client.publish(package_of(point), f"1.0.{point}")
            except httpx.TransportError:
                ended.append(mortals.said())
            else:
                break
    os.kill(int(process), signal.SIGTERM)
    assert mortals.said() == ["ended", "0"]
    assert set(map(tuple, ended)) == {("ended", str(-signal.SIGKILL))}
    assert point > 25, "there are more steps in a publish than that"
    assert not seen[0]


@pytest.fixture
def reference(server, owner) -> tuple[str, str]:
    """A package that is published, and its digest."""
    package = make_package({"main.wasm": WASM, "Enarx.toml": b"# to be fetched\n", "assets/a": b"a"})
    owner.publish(package, "2.0.0")
    return f"drawbridge://{server.url.removeprefix('http://')}/testuser/hello:2.0.0", package.root.sha256


def test_a_fetch_that_is_killed_at_any_step(reference, tmp_path, mortals):
    named, digest = reference
    into = tmp_path / "into"
    for point in range(1, 100):
        said = mortals.start("fetch", named, into, point)
        if said[0] != "ended":
            break
        assert said == ["ended", str(-signal.SIGKILL)]
        names = {path.name for path in into.iterdir()} if into.exists() else set()
        assert all(name.startswith(".new-") or name == digest.removeprefix("sha256:") for name in names)
    assert (said, mortals.said()) == ([digest], ["ended", "0"])
    assert point > 5, "there are more steps in a fetch than that"
    assert [path.name for path in into.iterdir()] == [digest.removeprefix("sha256:")]


def test_a_publish_that_is_cut_off_between_any_two_requests_is_not_seen_and_can_be_done_again(server, owner):
    package = make_package({"main.wasm": WASM + b"cut", "assets/a/b": b"b", "Enarx.toml": b"# cut"})
    for count in range(len(package.nodes)):
        for path, (body, type_) in list(package.nodes.items())[:count]:
            owner.put(f"{TAG}/3.0.{count}/tree/{path}", body, type_)
        assert not is_seen(server.client(), package, f"3.0.{count}")
    assert owner.publish(package, "3.0.0")[-1].status_code == 201
    assert is_seen(server.client(), package, "3.0.0")

"""What one user may have, to the byte, also when many requests come at once; and what becomes of what was abandoned."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enarx_drawbridge import trees
from enarx_drawbridge.database import User
from enarx_drawbridge.directory_form import entry_of
from enarx_drawbridge.policy import Quota
from enarx_drawbridge.reading import ENTRY_TYPE
from enarx_drawbridge.store import Store

from .conftest import WASM, make_package

PACKAGE = make_package({"main.wasm": WASM})
SIZE = sum(len(body) for body, _ in PACKAGE.nodes.values())


def test_bytes_are_counted_to_the_last_one(start, provider):
    client = start(more=f"[quota]\nbytes = {SIZE}\n").client(provider.token())
    client.register()
    assert client.publish(PACKAGE, "1.0.0")[-1].status_code == 201
    assert client.publish(PACKAGE, "1.0.1")[-1].status_code == 201  # nothing is stored twice
    one = make_package({"main.wasm": b""})
    refused = client.put("testuser/hello/_tag/1.0.2/tree", *one.nodes[""])
    assert (refused.status_code, refused.text) == (403, f"Quota exceeded: `testuser` may have {SIZE:,} bytes")


def test_one_byte_less_is_not_enough(start, provider):
    server = start(more=f"[quota]\nbytes = {SIZE - 1}\n")
    client = server.client(provider.token())
    client.register()
    assert 403 in [answer.status_code for answer in client.publish(PACKAGE, "1.0.0")]
    assert client.get("testuser/hello/_tag").json() == []
    assert not list((server.store / "incoming").iterdir())


def test_many_at_once_do_not_get_more(start, provider):
    bodies = [str(number).encode() * 1000 for number in range(10)]
    server = start(more=f"[quota]\nbytes = {len(bodies[0]) * 3 + 500}\n")
    client = server.client(provider.token())
    client.register()

    def put(number: int) -> int:
        where = f"testuser/hello/_tag/1.0.{number}/tree"
        return client.put(where, bodies[number], "application/octet-stream").status_code

    with ThreadPoolExecutor(10) as threads:
        statuses = list(threads.map(put, range(10)))
    assert set(statuses) == {201, 403}
    assert sum(path.stat().st_size for path in (server.store / "blobs").glob("*/*")) <= len(bodies[0]) * 3 + 500


def test_repositories_tags_and_names_are_counted(start, provider):
    client = start(more="[quota]\nrepositories = 2\ntags = 3\nusers = 2\n").client(provider.token())
    client.register()
    assert client.put("second", b'{"subject":"test|subject"}', "application/json").status_code == 201
    assert client.put("third", b'{"subject":"test|subject"}', "application/json").status_code == 409
    assert client.put("testuser/b", b'{"public":true}', "application/json").status_code == 201
    assert client.put("testuser/c", b'{"public":true}', "application/json").status_code == 403
    assert [client.publish(PACKAGE, f"1.0.{number}")[-1].status_code for number in range(4)] == [201, 201, 201, 403]
    assert client.put("testuser/b/_tag/1.0.0", PACKAGE.tag, ENTRY_TYPE).status_code == 403


def test_roots_for_tags_that_never_come_are_counted(start, provider):
    client = start(more="[quota]\ntags = 3\n").client(provider.token())
    client.register()
    statuses = [client.put(f"testuser/hello/_tag/1.0.{n}/tree", *PACKAGE.nodes[""]).status_code for n in range(4)]
    assert statuses == [201, 200, 200, 403]


def test_of_those_who_publish_one_tag_at_once_one_wins_with_all_of_its_package(start, provider):
    server = start()
    client = server.client(provider.token())
    client.register()
    packages = [
        make_package({"main.wasm": WASM + bytes([number]), "Enarx.toml": bytes([number])}) for number in range(6)
    ]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda package: client.publish(package, "1.0.0")[-1].status_code, packages))
    assert sorted(answers) == [201] + [409] * 5
    winner = packages[answers.index(201)]
    for path, (body, _) in winner.nodes.items():
        assert server.client().get(f"testuser/hello/_tag/1.0.0/tree/{path}").content == body


def test_those_who_publish_the_same_at_once_all_succeed(start, provider):
    client = start().client(provider.token())
    client.register()
    with ThreadPoolExecutor(6) as threads:
        published = list(threads.map(lambda _: client.publish(PACKAGE, "1.0.0"), range(6)))
    assert {answer.status_code for answers in published for answer in answers} <= {200, 201}


class Clock:
    """Goes on when it is told to."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def put(store: Store, tag: str, path: tuple[str, ...], body: bytes, type_: str) -> None:
    repository = store.repository("a", "b")
    entry = entry_of(body, type_)
    with store.receiving(repository, entry) as came:
        came.write(body)
        store.put_node(repository, tag, path, entry, came)


def blobs(directory: Path) -> int:
    return len(list((directory / "blobs").glob("*/*")))


def test_what_was_put_for_a_tag_that_never_came_is_forgotten_and_what_tags_name_is_not(tmp_path):
    tmp_path.chmod(0o700)
    clock = Clock()
    store = Store(tmp_path, Quota(uploads="2h"), clock)
    store.put_user(User("a", "s", b""))
    store.put_repository("a", "b", b"", public=True)
    for path, (body, type_) in PACKAGE.nodes.items():
        put(store, "1.0.0", (path,) if path else (), body, type_)
    store.put_tag(store.repository("a", "b"), "1.0.0", ENTRY_TYPE, PACKAGE.tag, PACKAGE.root)
    abandoned = make_package({"main.wasm": WASM, "Enarx.toml": b"# abandoned"})
    put(store, "2.0.0", (), *abandoned.nodes[""])
    clock.now += 7199
    store.forget_abandoned()
    assert blobs(tmp_path) == 3
    clock.now += 2
    store.forget_abandoned()
    assert blobs(tmp_path) == 2
    assert store.tags(store.repository("a", "b").id) == ["1.0.0"]
    store.close()


@pytest.mark.parametrize("order", [list, lambda nodes: sorted(nodes, reverse=True)], ids=["as-listed", "backwards"])
def test_a_tag_that_was_put_first_costs_a_few_walks_of_its_tree_and_not_one_for_each_node(tmp_path, monkeypatch, order):
    tmp_path.chmod(0o700)
    store = Store(tmp_path, Quota())
    store.put_user(User("a", "s", b""))
    store.put_repository("a", "b", b"", public=True)
    package = make_package({"main.wasm": WASM} | {f"assets/{number:02}": b"%d" % number for number in range(50)})
    walks, missing = [], trees.missing
    monkeypatch.setattr(trees, "missing", lambda *words: walks.append(words) or missing(*words))
    repository = store.repository("a", "b")
    store.put_tag(repository, "1.0.0", ENTRY_TYPE, package.tag, package.root)
    directories = ["", "assets"]
    for path in [*directories, *order(set(package.nodes) - set(directories))]:
        assert store.tags(repository.id) == []
        put(store, "1.0.0", tuple(path.split("/")) if path else (), *package.nodes[path])
    assert store.tags(repository.id) == ["1.0.0"]
    assert len(walks) <= 5
    store.close()


def test_what_came_for_another_tag_is_not_awaited(tmp_path):
    tmp_path.chmod(0o700)
    store = Store(tmp_path, Quota())
    store.put_user(User("a", "s", b""))
    store.put_repository("a", "b", b"", public=True)
    repository = store.repository("a", "b")
    one = make_package({"main.wasm": WASM, "Enarx.toml": b"# one"})
    other = make_package({"main.wasm": WASM, "Enarx.toml": b"# other"})
    for tag, package in (("1.0.0", one), ("2.0.0", other)):
        store.put_tag(repository, tag, ENTRY_TYPE, package.tag, package.root)
        put(store, tag, (), *package.nodes[""])
    put(store, "2.0.0", ("main.wasm",), *other.nodes["main.wasm"])
    put(store, "1.0.0", ("Enarx.toml",), *one.nodes["Enarx.toml"])
    assert store.tags(repository.id) == ["1.0.0"]
    store.close()


def test_a_directory_that_is_somewhere_else_a_file_keeps_what_it_lists(tmp_path):
    tmp_path.chmod(0o700)
    store = Store(tmp_path, Quota())
    store.put_user(User("a", "s", b""))
    store.put_repository("a", "b", b"", public=True)
    listing = make_package({"main.wasm": WASM, "assets/a": b"a"}).nodes["assets"][0]
    package = make_package({"main.wasm": WASM, "assets/a": b"a", "listing": listing})
    for path, (body, type_) in package.nodes.items():
        put(store, "1.0.0", tuple(path.split("/")) if path else (), body, type_)
    store.put_tag(store.repository("a", "b"), "1.0.0", ENTRY_TYPE, package.tag, package.root)
    before = blobs(tmp_path)
    store.forget_abandoned()
    assert blobs(tmp_path) == before
    assert store.node(store.repository("a", "b"), "1.0.0", ("assets", "a")) == entry_of(
        b"a", "application/octet-stream"
    )
    store.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(place)]).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_leaves_nothing_behind_and_what_is_there_is_read_on(start, provider, small_disk):
    server = start(store=small_disk)
    client = server.client(provider.token())
    client.register()
    assert client.publish(PACKAGE, "1.0.0")[-1].status_code == 201
    large = make_package({"main.wasm": WASM * 500})
    answers = client.publish(large, "2.0.0")
    assert 507 in [answer.status_code for answer in answers]
    assert not list((small_disk / "incoming").iterdir())
    assert client.get("testuser/hello/_tag").json() == ["1.0.0"]
    assert client.get("testuser/hello/_tag/1.0.0/tree/main.wasm").content == WASM
    assert client.publish(PACKAGE, "1.0.1")[-1].status_code in (201, 507)
    assert server.end() == 0

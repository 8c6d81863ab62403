"""The issuance log: what is in it, that it cannot be changed unseen, and that nothing leaves the Steward without it."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_deploy.cli.main import main
from enarx_steward import checkpoint, database, issuance_log
from enarx_steward.decisions import NotIssued
from enarx_steward.errors import ConfigurationError, Unavailable
from enarx_steward.issuance_log import EMPTY, Broken, Head, IssuanceLog

from .conftest import POLICY
from .test_reload import put, reloaded

DECISION = NotIssued(
    protocol="v1", backend="nil", checks=("nonce.open",), evidence_sha256="ab" * 32, policy_sha256="cd" * 32
)
PUBLIC = """\
[ca]
trust_domain = "example.org"

[log]
public = true

[nil]
any_workload = true
legacy_binding = true
names = ["localhost", "127.0.0.1"]
"""


class Store:
    """A database as its owner sees it, beside the Steward."""

    def __init__(self, kind: str, path: Path, cluster=None, name: str = "") -> None:
        self.kind, self.path, self.cluster, self.name = kind, path, cluster, name
        self.url = "" if kind == "sqlite" else cluster.url(name)
        self.opened: list[database.Database] = []

    def open(self) -> database.Database:
        self.opened.append(database.open_url(self.url) if self.url else database.open_file(self.path))
        return self.opened[-1]

    def log(self) -> IssuanceLog:
        return IssuanceLog(self.open())

    def sql(self, *statements: str) -> str:
        """What the database says to statements; its refusal is an AssertionError with its words."""
        if self.url:
            done = self.cluster.sql(*statements, database=self.name, check=False)
            assert not done.returncode, done.stderr
            return done.stdout
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            try:
                return "\n".join(str(row[0]) for statement in statements for row in connection.execute(statement))
            except sqlite3.Error as refusal:
                raise AssertionError(str(refusal)) from None

    def tamper(self, *statements: str) -> None:
        """As one does who has the database in his hands, and lets no trigger stop him."""
        if self.url:
            self.sql("ALTER TABLE issuance_log DISABLE TRIGGER ALL", *statements)
        else:
            triggers = self.sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").split()
            self.sql(*(f"DROP TRIGGER {name}" for name in triggers), *statements)

    @property
    def options(self) -> list[str]:
        return ["--state", str(self.path.parent), *(["--database", self.url] if self.url else [])]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, state):
    if request.param == "sqlite":
        made = Store("sqlite", state / "issuance.db")
    else:
        cluster, name = request.getfixturevalue("cluster"), request.getfixturevalue("postgresql")
        made = Store("postgresql", state / "issuance.db", cluster, name)
    yield made
    for opened in made.opened:
        opened.close()


@pytest.fixture
def log(store):
    """A log with five entries."""
    made = store.log()
    for _ in range(5):
        made.append(DECISION)
    return made


def command(*words: str) -> int:
    return main(["steward", "log", *words])


def test_what_was_issued_is_in_the_log_with_all_that_it_says(start, keep, store):
    running = start(*store.options[2:])
    leaf = running.client.certify(keep)[0]
    nonce = running.client.nonce()
    evidence = keep.evidence(nonce, "elsewhere")
    assert running.client.ask(keep.request(), nonce, evidence).status_code == 403
    assert running.client.enarx(keep.request()).status_code == 200
    issued, refused, enarx = [entry.decision() for entry in store.log().walk()]
    assert issued.serial == f"{leaf.serial_number:x}"
    assert issued.certificate_sha256 == hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    assert issued.key_sha256 == hashlib.sha256(keep.spki).hexdigest()
    assert issued.names[:2] == ("localhost", "keep.example.org")
    assert f"spiffe://example.org/package/sha256/{'ab' * 32}" in issued.names
    assert issued.not_after == leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (issued.protocol, issued.backend, issued.package) == ("v1", "nil", keep.package)
    assert issued.policy_sha256 == running.client.info()["policy_sha256"]
    assert (refused.checks, refused.evidence_sha256) == (
        ("binding.report-data",),
        hashlib.sha256(evidence).hexdigest(),
    )
    assert (enarx.protocol, enarx.package, enarx.evidence_sha256) == ("enarx", None, None)


def test_a_whole_log_is_said_to_be_whole(log, store, capsys):
    assert command("verify", *store.options) == 0
    assert capsys.readouterr().out.startswith("whole         5 entries\n")
    assert command("verify", "--json", *store.options) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["seq"], answer["hash"]) == (True, 5, log.head().hash)


@pytest.mark.parametrize(
    ("defect", "statements", "seq"),
    [
        ("edited", ["UPDATE issuance_log SET body = '{}' WHERE seq = 3"], 3),
        ("dated-back", ["UPDATE issuance_log SET time = '2020-01-01T00:00:00.000000Z' WHERE seq = 2"], 2),
        ("no-json", ["UPDATE issuance_log SET body = 'x' WHERE seq = 4"], 4),
        ("deleted", ["DELETE FROM issuance_log WHERE seq = 2"], 2),
        ("first-deleted", ["DELETE FROM issuance_log WHERE seq = 1"], 1),
        (
            "reordered",
            [
                "UPDATE issuance_log SET seq = 99 WHERE seq = 3",
                "UPDATE issuance_log SET seq = 3 WHERE seq = 4",
                "UPDATE issuance_log SET seq = 4 WHERE seq = 99",
            ],
            3,
        ),
        ("hash-of-another", ["UPDATE issuance_log SET hash = prev WHERE seq = 5"], 5),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_first_broken_entry_is_named(log, store, capsys, defect, statements, seq):
    store.tamper(*statements)
    assert command("verify", "--json", *store.options) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["broken"]["seq"] == seq
    assert f"entry {seq}: " in said.err


def test_a_cut_off_end_shows_against_a_head_that_was_kept(start, keep, store, capsys, tmp_path):
    running = start(*store.options[2:])
    running.client.certify(keep)
    running.client.certify(keep)
    kept = tmp_path / "head.json"
    kept.write_bytes(running.client.http.get(f"{running.client.url}/v1/log/head").raise_for_status().content)
    running.end()
    assert command("verify", "--head", str(kept), *store.options) == 0
    assert "kept head     entry 2 is in it" in capsys.readouterr().out
    store.tamper("DELETE FROM issuance_log WHERE seq = 2")
    assert command("verify", *store.options) == 0
    assert command("verify", "--head", str(kept), *store.options) == 3
    assert "entry 2: it is missing" in capsys.readouterr().err


def test_a_log_that_was_written_anew_shows_against_a_head_that_was_kept(log):
    old = log.head()
    with pytest.raises(Broken, match="entry 5: it is not the one of the head"):
        issuance_log.verify(log.walk(), Head(old.seq, "ab" * 32))
    assert issuance_log.verify(log.walk(), old) == old


def test_a_head_is_signed_by_the_authority_and_by_no_other(start, tmp_path, capsys):
    running = start()
    data = running.client.http.get(f"{running.client.url}/v1/log/head").content
    root = running.root.read_bytes()
    assert checkpoint.read(data, root).head == EMPTY
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    assert main(["steward", "--init", "--state", str(other)]) == 0
    with pytest.raises(checkpoint.NotSigned):
        checkpoint.read(data, (other / "root.pem").read_bytes())
    for change in ({"seq": 1}, {"hash": "ab" * 32}, {"time": "2020-01-01T00:00:00.000000Z"}, {"chain": []}, {"x": 1}):
        with pytest.raises(checkpoint.NotSigned):
            checkpoint.read(json.dumps(json.loads(data) | change).encode(), root)
    kept = tmp_path / "head.json"
    kept.write_text(json.dumps(json.loads(data) | {"seq": 1}))
    assert command("verify", "--head", str(kept), "--state", str(running.state)) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE issuance_log SET body = '{}' WHERE seq = 1",
        "DELETE FROM issuance_log",
        "INSERT INTO issuance_log SELECT seq + 2, time, body, hash, prev FROM issuance_log WHERE seq = 5",
        "INSERT INTO issuance_log SELECT seq + 1, time, body, prev, hash FROM issuance_log WHERE seq = 5",
        "INSERT INTO issuance_log SELECT seq - 5, time, body, hash, prev FROM issuance_log WHERE seq = 5",
    ],
)
def test_the_schema_refuses_what_is_not_an_append(log, store, statement):
    with pytest.raises(AssertionError, match=r"append-only|follows the last one"):
        store.sql(statement)
    assert issuance_log.verify(log.walk()).seq == 5


def test_the_schema_refuses_each_databases_own_ways_around(log, store):
    ways = {
        "sqlite": ["REPLACE INTO issuance_log SELECT * FROM issuance_log WHERE seq = 2"],
        "postgresql": ["TRUNCATE issuance_log"],
    }
    for statement in ways[store.kind]:
        with pytest.raises(AssertionError, match=r"append-only|follows the last one"):
            store.sql(statement)
    assert issuance_log.verify(log.walk()).seq == 5


def append_many(url: str, path: str, number: int) -> None:
    database.PATIENCE = 120  # SQLite's lock is not taken in turn: one of them may wait until the others are done
    with closing(database.open_url(url) if url else database.open_file(Path(path))) as opened:
        log = IssuanceLog(opened)
        for _ in range(number):
            log.append(DECISION)


def test_several_processes_write_one_chain(store):
    spawn = multiprocessing.get_context("spawn")
    store.open()
    processes = [spawn.Process(target=append_many, args=(store.url, str(store.path), 40)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert issuance_log.verify(store.log().walk()).seq == 120


def test_several_that_make_the_schema_at_the_same_time_make_it_once(store):
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: store.open(), range(6)))
    IssuanceLog(opened[0]).append(DECISION)
    assert {IssuanceLog(one).head().seq for one in opened} == {1}


def test_many_threads_write_one_chain_and_each_entry_once(store):
    log = store.log()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: log.append(DECISION), range(600)))
    assert issuance_log.verify(log.walk()).seq == 600


def test_those_that_wait_are_written_in_one_transaction(store):
    log = store.log()
    with log._writing:
        pool = ThreadPoolExecutor(10)
        waiting = [pool.submit(log.append, DECISION) for _ in range(10)]
        while len(log._waiting) < 10:
            time.sleep(0.01)
    for one in waiting:
        one.result()
    # PostgreSQL says which transaction wrote a row; SQLite does not.
    if store.kind == "postgresql":
        assert store.sql("SELECT count(DISTINCT xmin::text) FROM issuance_log").strip() == "1"
    assert log.head().seq == 10


def test_a_newer_schema_is_left_alone(log, store, run):
    store.sql("UPDATE steward_schema SET version = 99")
    with pytest.raises(ConfigurationError, match="version 99 of the schema, and this program knows 1"):
        store.open()
    assert "version 99" in run(*store.options[2:]).stderr


def test_a_log_that_others_can_read_is_refused(run, state):
    (state / "issuance.db").touch()
    (state / "issuance.db").chmod(0o640)
    done = run()
    assert done.returncode == 1
    assert "not a file that is yours alone" in done.stderr
    assert "chmod 600" in done.stderr


def test_all_files_of_the_log_are_the_users_alone(start, keep):
    running = start()
    running.client.certify(keep)
    modes = {path.name: path.stat().st_mode & 0o777 for path in running.state.glob("issuance.db*")}
    assert modes == dict.fromkeys(["issuance.db", "issuance.db-wal", "issuance.db-shm"], 0o600)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://steward:hunter2@db.example.org/steward", "must not hold a password"),
        ("postgresql://steward@db.example.org/steward?password=hunter2", "must not hold a password"),
        ("mysql://db.example.org/hunter2", "'mysql' is not known"),
        ("hunter2", "is not a URL"),
    ],
)
def test_a_url_with_a_password_or_of_another_kind_is_refused_and_not_repeated(run, url, said):
    done = run("--database", url)
    assert done.returncode == 1
    assert said in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://steward@db.example.org/steward", "verify-full"),
        ("postgresql://steward@10.0.0.1/steward", "verify-full"),
        ("postgresql://steward@db.example.org/steward?sslmode=disable", "disable"),
        ("postgresql://steward@localhost/steward", None),
        ("postgresql:///steward?host=/run/postgresql", None),
    ],
)
def test_a_database_elsewhere_must_prove_its_name_unless_named_off(url, mode, monkeypatch):
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert database._postgresql_url(url).query.get("sslmode") == mode


def test_without_its_log_a_steward_does_not_start(run, cluster):
    done = run("--database", cluster.url("nowhere"))
    assert done.returncode == 1
    assert '"nowhere" does not exist' in done.stderr


def test_what_cannot_be_logged_is_not_issued(start, keep):
    running = start()
    nonce = running.client.nonce()
    with closing(sqlite3.connect(running.state / "issuance.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = running.client.ask(keep.request(), nonce, keep.evidence(nonce, running.client.audience))
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
        other.execute("ROLLBACK")
    running.client.certify(keep)
    assert head_of(running.state / "issuance.db").seq == 1


def head_of(path: Path) -> Head:
    with closing(database.open_file(path)) as opened:
        return IssuanceLog(opened).head()


def certify_until_it_ends(client, make_keep, got: list[bytes], end: threading.Event) -> None:
    """Ask for certificates, whatever happens, and remember those that came."""
    with httpx.Client(trust_env=False, timeout=120) as http:
        client = replace(client, http=http)
        while not end.is_set():
            try:
                got.append(client.certify(make_keep())[0].public_bytes(Encoding.DER))
            except httpx.HTTPError:
                time.sleep(0.05)


@pytest.fixture
def load(make_keep):
    """Clients that ask a Steward for certificates all the time; what they got."""
    end, got, threads = threading.Event(), [], []

    def load(client) -> list[bytes]:
        for _ in range(4):
            threads.append(threading.Thread(target=certify_until_it_ends, args=(client, make_keep, got, end)))
            threads[-1].start()
        return got

    def finish() -> list[bytes]:
        end.set()
        for thread in threads:
            thread.join()
        return got

    load.finish = finish
    yield load
    finish()


def wait_for(got: list[bytes], number: int) -> None:
    deadline = time.monotonic() + 120
    while len(got) < number:
        assert time.monotonic() < deadline, f"{len(got)} certificates"
        time.sleep(0.01)


def logged(log: IssuanceLog) -> set[str]:
    assert issuance_log.verify(log.walk()).seq > 0
    return {entry.decision().certificate_sha256 for entry in log.walk()}


def digests(certificates: list[bytes]) -> set[str]:
    return {hashlib.sha256(one).hexdigest() for one in certificates}


def test_a_steward_that_is_killed_has_logged_all_that_it_gave_out(start, store, load):
    running = start(*store.options[2:])
    wait_for(load(running.client), 40)
    running.process.send_signal(signal.SIGKILL)
    running.process.communicate()
    got = digests(load.finish())
    again = start(*store.options[2:])
    assert got <= logged(store.log())
    again.end()


def test_a_postgresql_that_is_killed_has_all_that_was_given_out_and_the_steward_goes_on(start, own_cluster, load):
    running = start("--database", own_cluster.url("postgres"))
    got = load(running.client)
    wait_for(got, 40)
    own_cluster.kill()
    assert is_unavailable(running.client)
    own_cluster.start()
    wait_for(got, len(got) + 40)
    given = digests(load.finish())
    assert running.end() == 0
    with closing(database.open_url(own_cluster.url("postgres"))) as opened:
        assert given <= logged(IssuanceLog(opened))


def test_a_postgresql_that_stands_still_is_said_so_and_keeps_no_steward_from_its_end(start, own_cluster, load):
    running = start("--database", own_cluster.url("postgres"))
    got = load(running.client)
    wait_for(got, 10)
    with frozen(own_cluster):
        assert is_unavailable(running.client)
        # More than there are threads; if each of them waited for the database, the last would give up.
        with ThreadPoolExecutor(64) as pool:
            assert all(pool.map(is_unavailable, [running.client] * 64))
    wait_for(got, len(got) + 10)
    with frozen(own_cluster):
        assert is_unavailable(running.client)
        assert running.end() == 0


@contextmanager
def frozen(cluster):
    stopped = cluster.freeze()
    try:
        yield
    finally:
        cluster.thaw(stopped)


def is_unavailable(client) -> bool:
    answer = httpx.post(f"{client.url}/v1/nonce", trust_env=False, timeout=120)
    return (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_the_policys_database_is_nothing_to_a_steward_that_was_given_another(start, state, cluster, postgresql):
    running = start("--database", cluster.url(postgresql))
    put(state, POLICY + '[log]\ndatabase = "postgresql://elsewhere.example/steward"\n')
    assert reloaded(running) == ""


def test_the_log_is_told_page_by_page_where_the_policy_makes_it_public(start, keep):
    client = start(policy=PUBLIC).client
    for _ in range(5):
        client.certify(keep)
    first = client.http.get(f"{client.url}/v1/log?limit=3").raise_for_status().json()
    assert [entry["seq"] for entry in first["entries"]] == [1, 2, 3]
    rest = client.http.get(f"{client.url}/v1/log", params={"after": first["next"]}).json()
    assert ([entry["seq"] for entry in rest["entries"]], rest["next"]) == ([4, 5], None)
    assert rest["entries"][0]["body"]["decision"] == "issued"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "after=-1", "after=x", "after=1&after=2", "after=" + "9" * 30]
)
def test_a_page_is_bounded(start, query):
    client = start(policy=PUBLIC).client
    answer = client.http.get(f"{client.url}/v1/log?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_otherwise_the_log_is_not_told(steward):
    answer = steward.http.get(f"{steward.url}/v1/log")
    assert (answer.status_code, answer.json()["code"]) == (403, "not-public")


def test_an_export_is_checked_anywhere(log, store, tmp_path, capsys):
    exported = tmp_path / "log.jsonl"
    assert command("export", "--output", str(exported), *store.options) == 0
    assert len(exported.read_bytes().splitlines()) == 5
    assert command("verify", "--file", str(exported)) == 0
    exported.write_text(exported.read_text().replace('"nil"', '"snp"', 1))
    assert command("verify", "--file", str(exported)) == 3
    assert "entry 1: its hash is not that of its content" in capsys.readouterr().err
    exported.write_text("x\n")
    assert command("verify", "--file", str(exported)) == 3


def test_show_lists_decisions_from_a_time_on(store, capsys):
    from datetime import UTC, datetime

    times = iter([datetime(2026, 11, day, tzinfo=UTC) for day in (1, 2, 3)])
    log = IssuanceLog(store.open(), clock=lambda: next(times))
    for _ in range(3):
        log.append(DECISION)
    assert command("show", "--json", "--since", "2026-11-02", *store.options) == 0
    assert [entry["seq"] for entry in json.loads(capsys.readouterr().out)] == [2, 3]
    assert command("show", "--last", "1", *store.options) == 0
    assert "3    2026-11-03T00:00:00.000000Z  refused   nil      nonce.open" in capsys.readouterr().out
    assert command("show", "--since", "2027-01-01", *store.options) == 0
    assert capsys.readouterr().out == "no entries\n"
    assert command("show", "--since", "yesterday", *store.options) == 2


def test_where_there_is_no_log_none_is_made(tmp_path, capsys):
    assert command("show", "--state", str(tmp_path)) == 1
    assert "there is no issuance log" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_the_database_is_one_of_the_stewards(store):
    log = store.log()
    store.tamper("DROP TABLE issuance_log")
    with pytest.raises(Unavailable, match="issuance_log"):
        log.append(DECISION)


def test_a_steward_is_ready_while_its_database_answers(start, store):
    client = start(*store.options[2:]).client
    assert client.http.get(f"{client.url}/v1/health").json() == {"status": "ready"}
    store.tamper("DROP TABLE issuance_log")
    answer = client.http.get(f"{client.url}/v1/health")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert client.http.get(client.url).status_code == 200

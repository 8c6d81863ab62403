"""Challenges of several Stewards over one PostgreSQL: asked for at one, answered at another, good once."""

from __future__ import annotations

import base64
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_steward import database
from enarx_steward.errors import Overloaded
from enarx_steward.shared_nonces import SharedNonces

from .conftest import POLICY


@pytest.fixture
def opened(cluster, postgresql):
    with closing(database.open_url(cluster.url(postgresql))) as one:
        yield one


def test_a_nonce_of_one_is_good_once_at_another(cluster, postgresql, opened):
    with closing(database.open_url(cluster.url(postgresql))) as other:
        nonce = SharedNonces(opened).open()
        assert SharedNonces(other).close(nonce)
        assert not SharedNonces(opened).close(nonce)


def test_of_many_that_race_for_a_nonce_one_gets_it(opened):
    stores = [SharedNonces(opened) for _ in range(8)]
    for _ in range(5):
        nonce = stores[0].open()
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(lambda store: store.close(nonce), stores)) == [False] * 7 + [True]  # noqa: B023


def test_a_nonce_expires_by_the_databases_clock_and_is_removed(cluster, postgresql, opened):
    brief = SharedNonces(opened, lifetime=timedelta(0))
    assert not brief.close(brief.open())
    brief.open()
    SharedNonces(opened).open()
    assert cluster.sql("SELECT count(*) FROM open_nonces", database=postgresql).stdout.strip() == "1"


def test_open_nonces_are_bounded(opened):
    store = SharedNonces(opened, capacity=3)
    for _ in range(3):
        store.open()
    with pytest.raises(Overloaded):
        store.open()


def test_what_was_open_is_not_written_ahead_so_that_no_crash_brings_a_used_nonce_back(cluster, postgresql, opened):
    asked = "SELECT relpersistence FROM pg_class WHERE relname = 'open_nonces'"
    assert cluster.sql(asked, database=postgresql).stdout.strip() == "u"


def test_a_challenge_of_one_steward_is_answered_at_another(start, keep, tmp_path, cluster, postgresql):
    policy = '[ca]\ntrust_domain = "a"\naudience = "https://fleet"\n[nil]\nany_workload = true\nnames = ["localhost"]\n'
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    first = start("--database", cluster.url(postgresql), policy=policy).client
    second = start("--database", cluster.url(postgresql), policy=policy, directory=other).client
    nonce = first.nonce()
    evidence = keep.evidence(nonce, "https://fleet")
    assert second.ask(keep.request(), nonce, evidence).status_code == 200
    assert first.ask(keep.request(), nonce, evidence).status_code == 403


def test_a_fleet_as_the_documents_set_it_up_can_add_to_the_log_and_change_nothing(
    start, state, keep, tmp_path, cluster, postgresql, enarx_deploy
):
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (statements,) = re.findall(r"^```sql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    made = enarx_deploy("steward", "log", "verify", "--database", cluster.url(postgresql))
    assert made.returncode == 0, made.stderr
    cluster.sql(statements, database=postgresql)
    url = cluster.url(postgresql, user="issuing_steward")
    policy = f'{POLICY}\n[log]\ndatabase = "{url}"\n'.replace("[ca]", '[ca]\naudience = "https://fleet"')
    first = start(policy=policy)
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    for name in ("ca.key", "root.pem"):
        shutil.copy2(state / name, other / name)
    second = start(policy=policy, directory=other)
    nonce = first.client.nonce()
    answer = second.client.ask(keep.request(), nonce, keep.evidence(nonce, "https://fleet"))
    assert answer.status_code == 200, answer.text
    assert base64.b64decode(answer.json()["chain"][-1]) == certificate_of(first.root)
    assert cluster.sql("SELECT count(*) FROM issuance_log", database=postgresql).stdout.strip() == "1"
    for words in (
        "UPDATE issuance_log SET body = ''",
        "DELETE FROM issuance_log",
        "TRUNCATE issuance_log",
        "ALTER TABLE issuance_log DISABLE TRIGGER ALL",
        "DROP TABLE issuance_log",
        "UPDATE steward_schema SET version = 2",
    ):
        refused = cluster.sql("SET ROLE issuing_steward", words, database=postgresql, check=False)
        assert "permission denied" in refused.stderr or "must be owner" in refused.stderr, words


def certificate_of(root: Path) -> bytes:
    return x509.load_pem_x509_certificate(root.read_bytes()).public_bytes(Encoding.DER)

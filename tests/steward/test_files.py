"""The key is born closed, stays closed, and is refused when it was open."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from enarx_steward import state as files
from enarx_steward.errors import ConfigurationError
from enarx_steward.root import Root

NOW = datetime.now(UTC)


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def test_modes_of_all_files_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        directory = tmp_path / "deep" / "state"
        files.prepare(directory)
        files.write_policy(directory, written_by="a test")
        files.load_root(directory, NOW)
    finally:
        os.umask(old)
    assert mode(directory) == 0o700
    assert mode(directory / "ca.key") == 0o600
    assert mode(directory / "steward.toml") == 0o600
    assert mode(directory / "root.pem") == 0o644
    assert sorted(p.name for p in directory.iterdir()) == ["ca.key", "root.pem", "setup.lock", "steward.toml"]


def test_the_key_is_never_open_while_it_is_made(state):
    """Another process looks at every file of the directory as fast as it can."""
    seen, done = set(), threading.Event()

    def look():
        while not done.is_set():
            for entry in os.scandir(state):
                try:
                    if b"PRIVATE" in (state / entry.name).read_bytes():
                        seen.add(mode(state / entry.name))
                except FileNotFoundError:
                    pass

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(50):
        files.load_root(state, NOW)
        for name in ("root.pem", "ca.key"):
            (state / name).unlink()
    done.set()
    watcher.join()
    assert seen <= {0o600}
    assert seen


def test_key_and_root_stay_the_same(state):
    first = files.load_root(state, NOW)
    second = files.load_root(state, NOW + timedelta(days=300))
    assert first.pem == second.pem
    assert isinstance(load_pem_private_key((state / "ca.key").read_bytes(), None).curve, ec.SECP256R1)


def test_many_at_once_make_one_key(state):
    with ThreadPoolExecutor(16) as pool:
        roots = set(pool.map(lambda _: files.load_root(state, NOW).pem, range(16)))
    assert len(roots) == 1


@pytest.mark.parametrize("open_mode", [0o640, 0o604, 0o644, 0o660, 0o601])
def test_a_key_that_others_could_read_is_refused(state, run, open_mode):
    files.load_root(state, NOW)
    (state / "ca.key").chmod(open_mode)
    ended = run()
    assert ended.returncode == 1
    assert f"others could read the key (mode {open_mode:04o})" in ended.stderr
    assert "chmod 600" in ended.stderr


def test_a_key_behind_a_link_is_refused(state, tmp_path):
    files.load_root(state, NOW)
    (state / "ca.key").rename(tmp_path / "elsewhere")
    (state / "ca.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match=r"ca\.key"):
        files.load_root(state, NOW)


@pytest.mark.parametrize("open_mode", [0o755, 0o711, 0o770, 0o777])
def test_a_directory_that_others_can_enter_is_refused(state, run, open_mode):
    state.chmod(open_mode)
    ended = run()
    assert ended.returncode == 1
    assert f"hint: chmod 700 {state}" in ended.stderr


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path, run):
    (tmp_path / "file").write_text("")
    assert run(directory=tmp_path / "file").returncode == 1


def test_a_key_that_is_gone_is_not_replaced(state):
    root = files.load_root(state, NOW).pem
    (state / "ca.key").unlink()
    with pytest.raises(ConfigurationError, match=r"its key ca\.key is gone"):
        files.load_root(state, NOW)
    assert (state / "root.pem").read_text() == root


def test_a_root_that_is_gone_is_made_anew_for_the_same_key(state):
    first = files.load_root(state, NOW)
    (state / "root.pem").unlink()
    second = files.load_root(state, NOW)
    assert first.certificate.subject == second.certificate.subject
    assert first.certificate.public_key() == second.certificate.public_key()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (b"", "PKCS#8"),
        (b"\xff" * 100, "PKCS#8"),
        (pem(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"x")), "unencrypted"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (pem(rsa.generate_private_key(65537, 2048)), "P-256"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "not that of the key"),
    ],
    ids=["empty", "noise", "encrypted", "p384", "rsa", "of-another-root"],
)
def test_another_key_is_refused(state, key, message):
    files.load_root(state, NOW)
    (state / "ca.key").write_bytes(key)
    with pytest.raises(ConfigurationError, match=message) as refused:
        files.load_root(state, NOW)
    assert str(state) in str(refused.value)
    assert refused.value.hint


def test_a_root_that_is_none_is_refused(state):
    root = files.load_root(state, NOW)
    for bad in (b"", b"\xff", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"):
        (state / "root.pem").write_bytes(bad)
        with pytest.raises(ConfigurationError, match=r"root\.pem: the root certificate") as refused:
            files.load_root(state, NOW)
        assert refused.value.hint
    assert isinstance(root.certificate, x509.Certificate)


@pytest.mark.parametrize("at", [NOW + timedelta(days=3653), NOW - timedelta(days=1)], ids=["ended", "not-yet"])
def test_a_root_that_is_not_valid_is_refused(state, at):
    files.load_root(state, NOW)
    with pytest.raises(ConfigurationError, match="the root certificate is valid from"):
        files.load_root(state, at)


def test_two_roots_never_have_one_name():
    assert Root.create(NOW).certificate.subject != Root.create(NOW).certificate.subject

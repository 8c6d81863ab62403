"""The forms in which people have evidence, endorsements and times at hand, and files that are no such thing."""

from __future__ import annotations

import base64
import contextlib
import os
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_attestation import evidence_text
from enarx_deploy.cli import evidence_files

VECTORS = Path(__file__).parents[1] / "attestation" / "vectors"
MILAN = VECTORS / "snp/milan-v3-azure"
REPORT = (MILAN / "report.bin").read_bytes()
QUOTE = (VECTORS / "tdx/phala-v4-uptodate/quote.bin").read_bytes()
WORDS = ("--kind", "snp", "--endorsements", MILAN, "--at", "2026-03-01", "--any-workload", "--revocation", "off")


def lines(text: str) -> str:
    return "\n".join(text[start : start + 64] for start in range(0, len(text), 64))


def written(data: bytes) -> dict[str, str]:
    plain = base64.b64encode(data).decode()
    return {
        "hexadecimal": data.hex(),
        "hexadecimal in capitals, with a prefix": "0x" + data.hex().upper() + "\r\n",
        "hexadecimal in lines": lines(data.hex()) + "\n",
        "base64": plain,
        "base64 in lines": "\n" + lines(plain) + "\n",
        "base64 of another alphabet": base64.urlsafe_b64encode(data).decode(),
        "PEM": f"-----BEGIN QUOTE-----\n{lines(plain)}\n-----END QUOTE-----\n",
    }


@pytest.mark.parametrize("form", written(b""))
@pytest.mark.parametrize("data", [REPORT, QUOTE], ids=["snp", "tdx"])
def test_evidence_that_is_written_out(form, data):
    assert evidence_text.plain(written(data)[form].encode()) == data


@pytest.mark.parametrize("form", written(b""))
def test_the_verdict_is_that_of_the_bytes(appraise, tmp_path, form):
    (tmp_path / "report").write_text(written(REPORT)[form])
    found, plain = appraise(tmp_path / "report", *WORDS), appraise(MILAN / "report.bin", *WORDS)
    assert (found.status, found.record) == (0, plain.record)


def test_the_beginning_of_what_is_too_large_is_not_taken_for_the_evidence(appraise, tmp_path):
    report = tmp_path / "report"
    report.write_text(REPORT.hex() + "\n" * evidence_files.MAX_EVIDENCE + "and what nobody has read")
    found = appraise(report, *WORDS)
    assert (found.status, found.record["ok"]) == (3, False)


@given(st.binary())
def test_any_evidence_is_read_back_and_no_bytes_upset_the_reader(data):
    evidence_text.plain(data)
    evidence = REPORT[:64] + data  # base64 of zeros alone would be hexadecimal as well
    for form in written(evidence).values():
        assert evidence_text.plain(form.encode()) == evidence


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" \n",
        b"0x",
        b'{"kind":"nil"}',
        b"-----BEGIN QUOTE-----\nAAAA\n-----END REPORT-----\n",
        b"-----BEGIN QUOTE-----\nAAAA\n-----END QUOTE-----\nAAAA",
        b"not hexadecimal, nor base64",
        "٣٣".encode(),
        REPORT,
        QUOTE,
    ],
)
def test_what_is_not_written_out_is_left_alone(text):
    assert evidence_text.plain(text) == text


def test_evidence_through_a_pipe(appraise, tmp_path):
    """As a shell's <(…) passes it, in pieces."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            for start in range(0, len(REPORT), 100):
                file.write(REPORT[start : start + 100])

    writer = threading.Thread(target=write)
    writer.start()
    assert appraise(pipe, *WORDS).status == 0
    writer.join()


def test_a_pipe_that_nobody_writes_to_is_not_waited_for_without_end(appraise, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence_files, "PATIENCE", 0)
    os.mkfifo(tmp_path / "pipe")
    answer = appraise(tmp_path / "pipe", *WORDS)
    assert (answer.status, "pipe: nothing has come for 0 s" in answer.err) == (2, True)


def test_a_pipe_that_drips_is_not_read_without_end(appraise, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence_files, "WHOLE", 0)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def drip() -> None:
        with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
            while True:
                file.write(b"0")

    writer = threading.Thread(target=drip)
    writer.start()
    answer = appraise(pipe, *WORDS)
    writer.join()
    assert (answer.status, "pipe: it has not ended after 0 s" in answer.err) == (2, True)


@pytest.mark.parametrize("size", [0, 1, 1183, 1 << 30])
@pytest.mark.parametrize("kind", ["snp", "sgx", "tdx"])
def test_a_file_of_another_size_is_refused_and_the_message_says_how_it_is_wrong(appraise, tmp_path, kind, size):
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", size)
    answer = appraise(tmp_path / "file", "--kind", kind, "--endorsements", MILAN, "--any-workload")
    answer.must_be_whole()
    assert (answer.status, answer.failed) == (3, {"evidence.malformed"})
    (check,) = answer.record["checks"]
    assert f"is refused: evidence.malformed: {check['actual']}" in answer.err


def test_what_has_no_end_is_read_up_to_a_bound(appraise):
    answer = appraise("/dev/zero", *WORDS)
    assert (answer.status, answer.failed) == (3, {"evidence.malformed"})


@pytest.mark.parametrize("at", ["1772323200", "@1772323200"])
def test_a_time_in_seconds(appraise, at):
    words = ("--kind", "snp", "--endorsements", MILAN, "--any-workload", "--revocation", "off")
    answer = appraise(MILAN / "report.bin", *words, "--at", at)
    (check,) = (check for check in answer.record["checks"] if check["id"] == "snp.certificate.validity")
    assert (answer.status, check["actual"]) == (0, "2026-03-01 00:00:00+00:00")


def test_endorsements_may_be_links_to_files_elsewhere(appraise, tmp_path):
    for name in ("vcek.der", "ca_chain.pem"):
        (tmp_path / name).symlink_to(MILAN / name)
    (tmp_path / "report.bin").symlink_to("nowhere")
    assert appraise(MILAN / "report.bin", *WORDS[:3], tmp_path, *WORDS[4:]).status == 0


@pytest.mark.parametrize("target", ["/dev/zero", "nowhere", "vcek.der", "/", "pipe"])
def test_a_link_to_what_is_no_file_is_an_error_and_is_not_opened(appraise, tmp_path, target):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "vcek.der").symlink_to(target)
    answer = appraise(MILAN / "report.bin", *WORDS[:3], tmp_path, *WORDS[4:])
    assert (answer.status, "vcek.der" in answer.err) == (2, True)
    assert "project" not in answer.err


TDX = VECTORS / "tdx/phala-v4-uptodate"
OF_TDX = (TDX / "quote.bin", "--kind", "tdx", "--endorsements", TDX, "--at", "2025-07-01", "--any-workload")
EMPTY_LOG = (
    struct.pack("<II", 0, 3)
    + bytes(20)
    + struct.pack("<I", 33)
    + b"Spec ID Event03\0"
    + struct.pack("<IIIHHB", 0, 0, 1, 0x0C, 48, 0)
)


@pytest.mark.parametrize(
    ("log", "failed"),
    [
        (EMPTY_LOG, {"tdx.event-log.rtmr0", "tdx.event-log.rtmr1", "tdx.event-log.rtmr2"}),
        (b"", {"tdx.event-log.form"}),
        (EMPTY_LOG[:-1], {"tdx.event-log.form"}),
        (EMPTY_LOG.ljust((4 << 20) + 1, b"\xff"), {"tdx.event-log.form"}),
    ],
    ids=["another-log", "empty", "cut-short", "too-large"],
)
def test_an_event_log_that_does_not_lead_to_the_registers_refuses(appraise, tmp_path, log, failed):
    (tmp_path / "CCEL").write_bytes(log)
    answer = appraise(*OF_TDX, "--event-log", tmp_path / "CCEL")
    answer.must_be_whole()
    assert answer.status == 3
    assert failed <= answer.failed <= failed | {"tdx.event-log.rtmr3"}


def test_an_event_log_is_of_a_domain(appraise, tmp_path):
    (tmp_path / "CCEL").write_bytes(EMPTY_LOG)
    answer = appraise(MILAN / "report.bin", *WORDS, "--event-log", tmp_path / "CCEL")
    assert (answer.status, "--event-log is of TDX domains, not of snp" in answer.err) == (2, True)
    (tmp_path / "quote").write_bytes(b"no quote")
    unread = appraise(tmp_path / "quote", *OF_TDX[1:], "--event-log", tmp_path / "CCEL")
    assert (unread.status, unread.failed) == (3, {"evidence.malformed"})

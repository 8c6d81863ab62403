"""What the Steward says is read by somebody, or by nobody."""

from __future__ import annotations

import logging
import os

import pytest

from enarx_service.line_writer import MAX_LINE, LineWriter


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def say(writer: LineWriter, text: str) -> None:
    writer.handle(logging.LogRecord("a", logging.INFO, "", 0, text, (), None))


def test_lines_are_written_in_order_and_before_the_end(pipe):
    read, write = pipe
    writer = LineWriter(write)
    for number in range(100):
        say(writer, f"line {number}")
    writer.flush()
    assert os.read(read, 65536).decode().splitlines() == [f"line {number}" for number in range(100)]


def test_what_nobody_reads_is_dropped_and_counted(pipe):
    read, write = pipe
    writer = LineWriter(write, capacity=10)
    text = "x" * 4000
    for _ in range(100):  # a pipe holds 16 of them
        say(writer, text)
    said = b""
    while b"were dropped" not in said:
        said += os.read(read, 65536)
        say(writer, "end")
    dropped = next(line for line in said.decode().splitlines() if "dropped" in line)
    assert 70 <= int(dropped.split()[0]) < 100
    os.set_blocking(read, False)
    writer.flush()


def test_a_line_is_cut_where_it_is_too_long(pipe):
    read, write = pipe
    writer = LineWriter(write)
    say(writer, "x" * (MAX_LINE + 1))
    writer.flush()
    assert os.read(read, 65536) == b"x" * MAX_LINE + b"\n"


def test_a_strangers_words_are_no_lines_of_their_own(start, http):
    running = start()
    body = '{"a\\n2026-01-01 00:00:00,000 enarx_steward issued\\u001b[31m": 1}'
    posted = http.post(
        f"{running.client.url}/v1/certificate", content=body, headers={"Content-Type": "application/json"}
    )
    assert posted.status_code == 400
    running.process.terminate()
    said = running.process.communicate(timeout=120)[1]
    assert "unknown field `a\\n2026-01-01 00:00:00,000 enarx_steward issued\\x1b[31m`" in said
    assert not any(line.startswith("2026-01-01") for line in said.splitlines())


def test_a_descriptor_that_is_closed_harms_nobody(pipe):
    read, write = os.pipe()
    writer = LineWriter(write)
    os.close(write)
    os.close(read)
    say(writer, "line")
    writer.flush()


def test_a_steward_whose_output_nobody_reads_goes_on_and_ends(start):
    running = start()
    path = "x" * 8000
    for _ in range(40):  # five times what a pipe holds
        assert running.client.http.get(f"{running.client.url}/v1/{path}").status_code == 404
    assert running.end() == 0

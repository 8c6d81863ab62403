"""`enarx-deploy dev`: a source is saved, and the same port serves what became of it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 120.0

SERVER = """\
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    for (;;) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int client = accept(3, (struct sockaddr *)&from, &size);
        if (client < 0) return 1;
        write(client, "WORD\\n", sizeof "WORD");
        close(client);
    }
}
"""
MANIFEST = """\
files = [
  { kind = "stdin" }, { kind = "stdout" }, { kind = "stderr" },
  { kind = "listen", name = "web", prot = "PROT", addr = "127.0.0.1", port = 0 },
]
"""


@dataclass
class Developing:
    """A running `dev --json`, its events in order."""

    process: Any
    root: Path

    def event(self) -> dict[str, Any]:
        """The next event; waits for it."""
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def serving(self) -> int:
        """The port of the next event, which must be that it serves."""
        event = self.event()
        assert event["event"] == "serving", event
        return event["endpoints"][0]["port"]

    def save(self, word: str) -> None:
        self.put("main.c", SERVER.replace("WORD", word))

    def put(self, name: str, text: str) -> None:
        """Replace a file of the project in one step: one that is written can be seen, and built, while it is empty."""
        new = self.root.with_name(f"{self.root.name}-new")
        new.write_text(text)
        new.replace(self.root / name)


def answer(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        return connection.makefile().readline().strip()


@pytest.fixture
def develop(cli) -> Iterator[Any]:
    started = []

    def start(word: str, *options: str, prot: str = "tcp") -> Developing:
        (cli.directory / "Enarx.toml").write_text(MANIFEST.replace("PROT", prot))
        (cli.directory / "main.c").write_text(SERVER.replace("WORD", word))
        developing = Developing(cli.start("dev", "--json", *options), cli.directory)
        started.append(developing)
        return developing

    yield start
    for developing in started:
        developing.process.send_signal(signal.SIGINT)
        developing.process.wait(PATIENCE)


def test_a_saved_source_is_served_on_the_same_port_until_it_is_interrupted(develop) -> None:
    developing = develop("one")
    port = developing.serving()
    assert answer(port) == "one"
    developing.save("two")
    assert developing.serving() == port
    assert answer(port) == "two"
    developing.process.send_signal(signal.SIGINT)
    assert developing.process.wait(PATIENCE) == 130
    with pytest.raises(ConnectionRefusedError):
        answer(port)


def test_what_does_not_build_is_shown_and_the_keep_before_goes_on_serving(develop) -> None:
    developing = develop("one")
    port = developing.serving()
    developing.put("main.c", "int main(void) { retrun 0; }\n")
    failed = developing.event()
    assert failed["event"] == "failed"
    assert "main.c:1:" in failed["message"]
    assert answer(port) == "one"
    developing.put("Enarx.toml", "flies = []\n")
    misspelt = developing.event()
    assert misspelt["event"] == "failed"
    assert "flies" in misspelt["message"]
    assert answer(port) == "one"
    developing.put("Enarx.toml", MANIFEST.replace("PROT", "tcp"))
    assert "main.c:1:" in developing.event()["message"]
    developing.save("one")  # as it was: the Keep before is the right one, and that it is well again is said
    assert developing.serving() == port
    developing.save("two")
    assert developing.serving() == port
    assert answer(port) == "two"


def test_a_grant_without_use_is_said_once_when_it_serves(develop) -> None:
    developing = develop("one")
    developing.serving()
    with (developing.root / "Enarx.toml").open("a") as manifest:
        manifest.write('[network]\nconnect = ["api.example.com:443"]\n')
    developing.serving()
    warning = developing.event()
    assert (warning["event"], "`network.connect` is not used" in warning["message"]) == ("warning", True)
    for word in ("two", "three"):
        developing.save(word)
        developing.serving()


def test_nobody_is_refused_while_one_keep_takes_the_place_of_another(develop, eventually) -> None:
    developing = develop("one")
    port = developing.serving()
    answers, faults, enough = [], [], threading.Event()

    def ask() -> None:
        while not enough.is_set():
            try:
                answers.append(answer(port))
            except OSError as error:
                faults.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        eventually(lambda: answers or faults, "the first one answers")
        for word in ("two", "three"):
            developing.save(word)
            assert developing.serving() == port
            eventually(lambda: word in answers or faults, "the next one answers")  # noqa: B023
    finally:
        enough.set()
        asking.join()
    assert faults == []
    assert sorted(set(answers), key=answers.index) == ["one", "two", "three"]


def test_a_certificate_is_issued_as_by_up_and_a_client_can_verify_it(develop, cli) -> None:
    event = develop("one", prot="tls").event()
    place = f"localhost:{event['endpoints'][0]['port']}"
    verified = cli("verify", place, "--package", event["package"], "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert cli("keeps", "--json").stdout.strip() == "[]"  # it is a Keep of this command alone


def test_a_new_file_and_a_packaged_one_count_and_passing_ones_do_not(develop, cli) -> None:
    (cli.directory / "page").mkdir()
    (cli.directory / "page" / "index.html").write_text("old")
    developing = develop("one", "--set", 'package.assets=[{source="page", guest="/page"}]')
    first = developing.event()
    assert developing.event()["event"] == "warning"  # this program opens nothing by name
    (developing.root / "notes.swp").write_text("an editor's")
    developing.put("page/index.html", "new")
    second = developing.event()
    assert (first["event"], second["event"]) == ("serving", "serving")
    assert first["package"] != second["package"]
    (developing.root / "more.c").write_text("int more;\n")
    developing.put("page/index.html", "newest")
    assert developing.event()["event"] == "serving"


def test_a_program_that_ends_is_run_again_when_it_changes(cli) -> None:
    source = cli.directory / "main.wat"
    text = '(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
    text += '(memory (export "memory") 1) (func (export "_start") (call $exit (i32.const STATUS))))'
    source.write_text(text.replace("STATUS", "3"))
    developing = Developing(cli.start("dev", "--json"), cli.directory)
    events = [developing.event(), developing.event()]
    assert {event["event"] for event in events} == {"serving", "ended"}
    source.write_text(text.replace("STATUS", "4"))
    again = [developing.event(), developing.event()]
    assert {event.get("code") for event in (*events, *again)} == {None, 3, 4}
    developing.process.send_signal(signal.SIGTERM)
    assert developing.process.wait(PATIENCE) == 130


def test_what_it_says_into_a_file_of_the_project_is_no_change(tmp_path) -> None:
    """Each line of a build that fails would otherwise begin the next one."""
    script = "import sys; from enarx_deploy.watch import _matters; print([_matters(None, one) for one in sys.argv[1:]])"
    log, source = tmp_path / "dev.log", tmp_path / "main.c"
    source.touch()
    with log.open("w") as output:
        subprocess.run([sys.executable, "-c", script, str(log), str(source)], stdout=output, check=True)
    assert log.read_text() == "[False, True]\n"

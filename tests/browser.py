"""A real browser for tests of pages, which trusts one root and nobody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 120.0  # seconds


def start(home: Path, root: Path) -> Browser:
    """Chromium with `home` as its home; its only authority, beside its own, is this root. Skips where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    certutil = shutil.which("certutil")
    if program is None or certutil is None:
        pytest.skip("needs Chromium, and certutil of NSS")
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    database = ["-d", f"sql:{store}"]
    subprocess.run([certutil, *database, "-N", "--empty-password"], check=True)
    subprocess.run([certutil, *database, "-A", "-t", "C,,", "-n", "root", "-i", str(root)], check=True)
    return Browser(program, home)


class BetweenPages(AssertionError):
    """A script was sent while a page made room for the next one."""


class Browser:
    """Chromium without a window, told what to do by its DevTools protocol over a pair of pipes."""

    def __init__(self, program: str, home: Path) -> None:
        to_browser, self._commands = os.pipe()
        self._answers, from_browser = os.pipe()

        def as_3_and_4() -> None:
            first, second = os.dup(to_browser), os.dup(from_browser)  # neither may be the other's new place
            os.dup2(first, 3)
            os.dup2(second, 4)

        quiet = "--no-first-run --disable-background-networking --disable-component-update --disable-sync"
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [program, *words, *quiet.split(), f"--user-data-dir={home}/profile"],
            env=os.environ | {"HOME": str(home)},
            preexec_fn=as_3_and_4,  # nothing else of this process forks meanwhile
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._unread = b""
        self._last = 0

    def do(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command and take its answer; events in between are passed over."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        os.write(self._commands, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                if "execution context" in answer.get("error", {}).get("message", ""):
                    raise BetweenPages(answer["error"]["message"])
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            piece = os.read(self._answers, 1 << 16)
            assert piece, "the browser has ended"
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> Page:
        target = self.do("Target.createTarget", url=url)["targetId"]
        return Page(self, self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)


class Page:
    """A page of the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self.session = browser, session

    def __call__(self, script: str) -> Any:
        """What a script answers in the page."""
        answer = self._browser.do("Runtime.evaluate", self.session, expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str, expected: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while (found := self._now(script)) != expected:
            assert time.monotonic() < deadline, f"{script}: {found!r}, not {expected!r}"
            time.sleep(0.05)

    def _now(self, script: str) -> Any:
        """What a script answers, or None where there is no page to ask at this moment."""
        try:
            return self(script)
        except BetweenPages:
            return None

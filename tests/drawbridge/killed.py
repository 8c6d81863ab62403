"""Servers and fetches that kill themselves, without a word, before their Nth step on the disk.

For each line on its standard input, it does in a process of its own, forked from this one for speed:

    serve STORE POINT             steps are counted after SIGUSR1; it says `URL PROCESS` first
    fetch REFERENCE INTO POINT    it says the digest

and says `ended STATUS` when that process has ended. A step is a file opened for writing, made, renamed or removed, a
flush to the disk, or a statement to the database.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path

from enarx_drawbridge.options import Options
from enarx_drawbridge.server import serve
from enarx_registries.drawbridge import Drawbridge

STEPS = {"os.mkdir", "os.remove", "os.rename", "os.rmdir"}

armed = False
steps = 0
point = 0


def step() -> None:
    global steps
    if armed:
        steps += 1
        if steps == point:
            os.kill(os.getpid(), signal.SIGKILL)


def watch(event: str, arguments: tuple) -> None:
    if event in STEPS or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        step()


def arm(*_: object) -> None:
    global armed
    armed = True


def flushing(flush):
    def flushed(descriptor: int) -> None:
        step()
        flush(descriptor)

    return flushed


def tracing(connect):
    def connected(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda statement: statement.startswith("SELECT") or step())
        return connection

    return connected


def act(words: list[str]) -> None:
    global point
    point = int(words[-1])
    if words[0] == "serve":
        signal.signal(signal.SIGUSR1, arm)
        options = Options(store=Path(words[1]), port=0)
        serve(options, lambda running: print(running.url, running.pid, flush=True))
    else:
        arm()
        print(Drawbridge().fetch(words[1], Path(words[2])).digest, flush=True)


os.fsync = flushing(os.fsync)
sqlite3.connect = tracing(sqlite3.connect)
sys.addaudithook(watch)
for line in iter(sys.stdin.readline, ""):
    child = os.fork()
    if not child:
        act(line.split())
        os._exit(0)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

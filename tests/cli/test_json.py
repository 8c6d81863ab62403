"""With `--json`, standard output is one JSON value alone: of every command, whether it can do its work or not."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

ENDLESS = {("console",), ("dev",), ("drawbridge",), ("steward",)}
"""They serve until they are ended; what they say when they begin, their own tests read."""
FAR = {("collateral", "fetch"), ("image", "build"), ("image", "lock")}
"""They ask servers of others at once."""
DONE_IN_A_PROJECT = {
    *("check", "compile", "package", "attest", "plan", "deploy", "up", "inspect"),
    *("keeps", "top", "metrics", "plugins", "platform", "schema"),
}

WALK = """
    import contextlib, io, json, sys
    import click
    from enarx_deploy.cli.app import app
    from enarx_deploy.cli.context import Context
    from enarx_deploy.cli.main import main

    def commands(group, path, context):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            inside = click.Context(command, parent=context, info_name=name)
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name), inside)
            if not isinstance(command, click.Group) or command.invoke_without_command:
                yield (*path, name), command

    def required(command):
        for one in command.params:
            if one.required:
                value = "1" if isinstance(one.type, click.types.IntParamType) else "nowhere"
                yield from [value] if isinstance(one, click.Argument) else [one.opts[0], value]

    left_out = set(map(tuple, json.loads(sys.argv[1])))
    found = list(commands(app, (), click.Context(app, info_name="enarx-deploy", obj=Context())))
    with open(sys.argv[2], "w") as told:
        for path, command in found:
            if path in left_out:
                left_out.remove(path)
                continue
            with contextlib.redirect_stdout(io.StringIO()) as said:
                status = main(["--json", *path, *required(command)])
            print(json.dumps([path, status, said.getvalue()]), file=told)
    assert not left_out, left_out
"""
"""Runs every command in one process, each with a word for what it must be given."""


@pytest.mark.usefixtures("shelf")
def test_every_command_answers_in_json_alone(enarx_deploy, tmp_path) -> None:
    told = tmp_path / "told"
    walk = [sys.executable, "-c", textwrap.dedent(WALK), json.dumps(sorted(ENDLESS | FAR)), str(told)]
    ended = subprocess.run(
        walk, cwd=enarx_deploy.directory, env=enarx_deploy._environment(), stdin=subprocess.DEVNULL, capture_output=True
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout == b""  # nor was anything written past the program's own stream
    answers = {tuple(path): (status, out) for path, status, out in map(json.loads, told.read_text().splitlines())}
    assert len(answers) > 60
    for path, (status, out) in answers.items():
        try:
            answer = json.loads(out)
        except ValueError:
            pytest.fail(f"{' '.join(path)} ended with {status} and said {out!r}")
        assert status in (0, 1, 2), path
        assert status == 0 or "error" in answer or "ok" in answer, (path, answer)
    assert {name for name in DONE_IN_A_PROJECT if answers[(name,)][0]} == set()

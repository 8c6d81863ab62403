"""Every command given twice: the second time it ends as the first did, and leaves what is there as it is."""

from __future__ import annotations

import json

from enarx_deploy.cli.app import COMMANDS

PROJECT = {  # what works on the project, in an order in which each has what it needs
    "schema": ("schema",),
    "check": ("check",),
    "compile": ("compile", "--json"),
    "inspect": ("inspect", ".enarx/main.wasm", "--json"),
    "package": ("package", "--json"),
    "attest": ("attest", "--json"),
    "lock": ("lock",),
    "plan": ("plan", "--json"),
    "deploy": ("deploy", "--json"),
    "up": ("up", "--yes"),
    "publish": ("publish", "dir:registry", "--json"),
    "search": ("search", "dir:registry"),
    "keeps": ("keeps", "--json"),
    "renew": ("renew", "oak-shelf", "--json"),
    "plugins": ("plugins", "--json"),
    "platform": ("platform", "--json"),
    "stop": ("stop", "oak-shelf", "--json"),
}
ELSEWHERE = {
    "new": "makes a project, and refuses where there is one: tests/project_templates/test_new.py",
    "dev": "goes on until it is interrupted: tests/end_to_end/test_dev.py",
    "run": "is the workload's own doing: tests/end_to_end/test_run_programs.py",
}


def test_what_works_on_a_project(enarx_deploy, shelf):
    for name, words in PROJECT.items():
        first, second = enarx_deploy(*words), enarx_deploy(*words)
        assert (first.returncode, second.returncode) == (0, 0), (name, first.stderr, second.stderr)
        assert first.stdout == second.stdout, name
    assert len(json.loads(enarx_deploy("keeps", "--json").stdout)) == 1


def test_what_is_tried_elsewhere_is_there():
    assert {*PROJECT, *ELSEWHERE} <= COMMANDS.keys()

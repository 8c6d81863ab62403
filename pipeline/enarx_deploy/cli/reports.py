"""What a command found, in the forms that CI systems read: JUnit's XML, and SARIF 2.1.0 (OASIS).

JUnit has no standard; what is written is what Jenkins, GitLab and GitHub's actions take: suites of cases, each passed,
failed or skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar
from xml.etree import ElementTree  # written here, and never read

import click
import msgspec

from enarx_deploy import __version__, paths
from enarx_deploy.cli import PROGRAM
from enarx_deploy.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: dict[str, str] = {"failed": "error", "warned": "warning"}


@dataclass(frozen=True)
class Result:
    """One thing that was looked at, of the kind `rule`. `line` and `column` count from 1; 0 is no place in `file`."""

    rule: str
    outcome: Literal["passed", "failed", "warned", "skipped"]
    message: str
    hint: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    reference: str = ""  # which specification asks for it


def report_options(function: Callable[P, R]) -> Callable[P, R]:
    """Give a command the options that name the files to be written."""
    for word, what in (("--sarif", "SARIF 2.1.0, for code scanning"), ("--junit", "JUnit XML, for test reports")):
        function = click.option(
            word, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help=f"Also write {what}."
        )(function)
    return function


def require_writable(*files: Path | None) -> None:
    """Before anything is looked at, so that a mistake in a name costs nothing. Raises UsageError."""
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise UsageError(f"{file}: its directory is not there", hint="name a file in an existing directory")


def write(subject: str, results: Sequence[Result], *, junit: Path | None, sarif: Path | None) -> None:
    """Write the files that were asked for; `subject` is what was looked at. Raises UsageError."""
    for file, render in ((junit, as_junit), (sarif, as_sarif)):
        if file is None:
            continue
        try:
            paths.write_atomically(file, render(subject, results), mode=0o644)
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}", hint="may you write there?") from error


def as_junit(subject: str, results: Sequence[Result]) -> bytes:
    """One suite of one case for each result; a warning is a case that passed, with its words as output."""
    failed, skipped = (str(sum(one.outcome == word for one in results)) for word in ("failed", "skipped"))
    counts = {"tests": str(len(results)), "failures": failed, "errors": "0", "skipped": skipped}
    suites = ElementTree.Element("testsuites", {"name": PROGRAM, **counts})
    del suites.attrib["skipped"]  # which the XSD of Jenkins has for a suite alone
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _xml(subject), **counts})
    for one in results:
        name = one.rule if not one.line else f"{one.rule} {_place(one)}"
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"{PROGRAM}.{_xml(subject)}", "name": _xml(name)}
        )
        if one.file:
            case.set("file", _xml(one.file))
        _add_outcome(case, one)
    ElementTree.indent(suites)
    text: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _add_outcome(case: ElementTree.Element, one: Result) -> None:
    text = _xml("\n".join(part for part in (one.message, one.hint and f"hint: {one.hint}", one.reference) if part))
    if one.outcome == "failed":
        ElementTree.SubElement(case, "failure", {"message": _xml(one.message), "type": _xml(one.rule)}).text = text
    elif one.outcome == "skipped":
        ElementTree.SubElement(case, "skipped", {"message": _xml(one.message)})
    else:
        ElementTree.SubElement(case, "system-out").text = text


def as_sarif(subject: str, results: Sequence[Result]) -> bytes:
    """One run, whose results are what failed or was warned of (section 3.27), each with its place or its subject."""
    found = [one for one in results if one.outcome in _LEVELS]
    rules = sorted({one.rule for one in found})
    driver = {"name": PROGRAM, "version": __version__, "rules": [{"id": rule} for rule in rules]}
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_sarif_result(subject, one, rules.index(one.rule)) for one in found],
            }
        ],
    }
    return msgspec.json.format(msgspec.json.encode(log), indent=2) + b"\n"


def _sarif_result(subject: str, one: Result, index: int) -> dict[str, Any]:
    words = " ".join(part for part in (one.message, f"({one.hint})" if one.hint else "") if part)
    return {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": _LEVELS[one.outcome],
        "message": {"text": words},
        "locations": [_location(one) if one.file else {"logicalLocations": [{"fullyQualifiedName": subject}]}],
    }


def _location(one: Result) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(one.file)}}
    if one.line:
        place["region"] = {"startLine": one.line, **({"startColumn": one.column} if one.column else {})}
    return {"physicalLocation": place}


def _uri(file: str) -> str:
    """Relative to the directory where the command was given, where it lies below, as code scanning wants it."""
    from urllib.parse import quote

    path = Path(file).absolute()
    here = Path.cwd()
    return quote(str(path.relative_to(here))) if path.is_relative_to(here) else path.as_uri()


def _place(one: Result) -> str:
    return ":".join([one.file, *(str(number) for number in (one.line, one.column) if number)])


def _xml(text: str) -> str:
    return _NOT_XML.sub("?", text)

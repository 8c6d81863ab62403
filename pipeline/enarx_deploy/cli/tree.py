"""What was looked at, as a tree of findings with what to do about each miss: for `platform` and `doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx_deploy.models import ProbeCheck


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and its parts. `fix` is what `doctor --fix` takes, empty where that cannot help."""

    name: str
    ok: bool
    detail: str
    hint: str = ""
    fix: str = ""
    required: bool = True
    parts: list[Finding] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether it and all of its parts are there."""
        return self.ok and all(part.whole for part in self.parts)

    def mark(self, miss: str) -> str:
        """It in four letters; `miss` is the word for one that is required and not there."""
        return "ok  " if self.ok else miss if self.required else "warn"


def nested(checks: Sequence[ProbeCheck], under: str = "") -> list[Finding]:
    """A backend's checks, each with those that are a part of it; one under a check that is not there stands alone."""
    names = {check.name for check in checks}
    return [
        Finding(
            check.name,
            check.ok,
            check.detail,
            check.hint,
            required=check.required,
            parts=nested(checks, check.name),
        )
        for check in checks
        if check.name != under and under == (check.under if check.under in names - {check.name} else "")
    ]


def lines(findings: Sequence[Finding], depth: int = 1, *, misses: bool = False, miss: str = "FAIL") -> Iterator[str]:
    """The tree, or with `misses` its first row and below that what is missing, each marked with `miss`. Below the first
    row, parts of a miss are left out: they go without saying."""
    indent = "  " * depth
    for finding in findings:
        if misses and depth > 1 and finding.whole:
            continue
        yield f"{indent}{finding.mark(miss)} {finding.name}: {finding.detail}"
        if finding.hint and not finding.ok:
            yield f"{indent}     {finding.hint}"
        if finding.ok or depth == 1:
            yield from lines(finding.parts, depth + 1, misses=misses, miss=miss)

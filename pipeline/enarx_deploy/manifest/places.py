"""From a fault to the error that a user sees: with the file, line and column, or the `--set`, that it comes from."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import msgspec

from enarx_deploy.errors import ManifestError
from enarx_deploy.manifest.faults import Fault
from enarx_toml.positions import Path, Positions


class Source(msgspec.Struct, frozen=True, dict=True):
    """A TOML text that values come from, and its file's name in errors."""

    file: str
    text: str

    @functools.cached_property
    def positions(self) -> Positions:
        return Positions(self.text)


class Places(msgspec.Struct, frozen=True):
    """Where the values of a manifest come from: `origins` by `--set`, else the first of `sources` that has them."""

    sources: tuple[Source, ...]
    origins: dict[Path, str] = {}

    def errors(self, faults: Iterable[Fault]) -> list[ManifestError]:
        """The faults as errors, in the order of the files; those of `--set` last."""
        files = [source.file for source in self.sources]
        found = [self.error(fault) for fault in faults]
        return sorted(found, key=lambda one: (one.file not in files, one.file, one.line, one.column))

    def error(self, fault: Fault) -> ManifestError:
        """A fault at the closest place that is known, which is that of a table where a key is missing from it."""
        ways = [fault.path[:length] for length in range(len(fault.path), 0, -1)]
        origin = next((self.origins[path] for path in ways if path in self.origins), None)
        if origin is not None:
            return ManifestError(fault.message, file=origin, hint=fault.hint)
        for path in ways:
            for source in self.sources:
                if path in source.positions:
                    line, column = (source.positions.key if fault.on_key else source.positions.value)(path)
                    return ManifestError(fault.message, file=source.file, line=line, column=column, hint=fault.hint)
        return ManifestError(fault.message, file=self.sources[-1].file, hint=fault.hint)

    def require(self, faults: Iterable[Fault]) -> None:
        """Raises ManifestError if there are any."""
        raise_all(self.errors(faults))


def raise_all(errors: list[ManifestError]) -> None:
    """Raise the first, which holds all of them; nothing where there are none."""
    if errors:
        errors[0].problems = errors
        raise errors[0]

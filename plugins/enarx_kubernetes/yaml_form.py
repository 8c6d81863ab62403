"""Objects as YAML that everybody reads the same.

Every string is quoted, for YAML 1.1 takes a bare `y`, `on` or `012` for something else, and Kubernetes reads that.
"""

from __future__ import annotations

from typing import Any

import yaml


class _Quoted(str):
    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's
        """The same value twice is written twice: people read this."""
        return True


def _quoted(dumper: yaml.SafeDumper, text: _Quoted) -> yaml.ScalarNode:
    style = "|" if "\n" in text and text.isascii() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


_Dumper.add_representer(_Quoted, _quoted)


def dump(document: dict[str, Any]) -> bytes:
    """One document, its keys in the order in which they are."""
    text: str = yaml.dump(
        _values_quoted(document), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=1 << 30
    )
    return text.encode()


def _values_quoted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _values_quoted(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_values_quoted(one) for one in value]
    return _Quoted(value) if isinstance(value, str) else value

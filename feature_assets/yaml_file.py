"""Reading a YAML file that a person writes: one document, one mapping, no key twice.

Which keys a file may hold belongs to the class of its settings (`closed.py`), not here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


class YamlFileError(ValueError):
    """A file that cannot be read as one mapping of settings; names the file, the line and what is wrong."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which keeps the last of two equal keys in silence, with an error in its place."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    problem = f"the key {key_node.value!r} stands there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _day(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """A date, or an error that has a line: PyYAML's has none."""
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError as error:
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value} is no date: {error}", node.start_mark
        ) from error


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _day)


def read_mapping(file: Path) -> dict[str, Any]:
    """The settings in a file; none where it is empty.

    Raises:
        YamlFileError: it cannot be read, is no text, no YAML, several documents, no mapping, or has a key twice.
    """
    try:
        documents = list(yaml.load_all(file.read_text(encoding="utf-8"), _Loader))
    except OSError as error:
        raise YamlFileError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise YamlFileError(
            f"{file} is not text in UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise YamlFileError(f"{file}{where}: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        raise YamlFileError(
            f"{file}: character {error.position + 1} ({error.character:#04x}) is not allowed"
        ) from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:  # lists a thousand deep
        raise YamlFileError(f"{file}: {error}") from error
    if len(documents) > 1:
        raise YamlFileError(f"{file} holds {len(documents)} documents (separated by ---), expected one")
    values = documents[0] if documents and documents[0] is not None else {}
    if not isinstance(values, dict):
        raise YamlFileError(f"{file} holds a {type(values).__name__}, expected settings as `name: value`")
    for key in values:
        if not isinstance(key, str):
            raise YamlFileError(f"{file}: the key {key!r} is not a name")
    return values


def line_of(file: Path, keys: Sequence[str | int]) -> int | None:
    """Line of the value that `keys` lead to in a file that `read_mapping` could read, or of the last of them that is
    there; None where none is."""
    node: yaml.Node | None = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
    line = None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = [(name, value) for name, value in node.value if getattr(name, "value", None) == str(key)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            found = [(node.value[key], node.value[key])]
        else:
            found = []
        if not found:
            break
        name, node = found[0]
        line = name.start_mark.line + 1
    return line


def truths_for_numbers(given: Any, read: Any, place: str = "") -> list[str]:
    """Places of values that YAML reads as true or false (yes, no, on, off) and that were taken for a number.

    Args:
        given: values as the file has them.
        read: the same after validation, as plain values.
        place: of these values among the settings.
    """
    if isinstance(given, bool):
        return [place] if isinstance(read, int | float) and not isinstance(read, bool) else []
    pairs: list[tuple[object, Any, Any]] = []
    if isinstance(given, Mapping) and isinstance(read, Mapping):
        pairs = [(key, value, read[key]) for key, value in given.items() if key in read]
    elif isinstance(given, list | tuple) and isinstance(read, Sequence) and len(given) == len(read):
        pairs = [(i, *pair) for i, pair in enumerate(zip(given, read, strict=True))]
    return [found for key, own, ours in pairs for found in truths_for_numbers(own, ours, f"{place}.{key}".lstrip("."))]

"""What differs between two configs, by dotted key, defaults of their classes included."""

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.config import Config

from ..signature import arguments
from .arguments import find_class

NOT_SET = "not set"


class Difference(NamedTuple):
    """A key with the text of its value in either config, :data:`NOT_SET` where it has none."""

    key: str
    one: str
    other: str


class _Found(NamedTuple):
    text: str
    is_default: bool


def differences(one: Config, other: Config) -> list[Difference]:
    """Keys whose values differ, in the order of the first config.

    Places in lists go by the name of the class, so that one more step of a pipeline is one more
    step, and no change of those after it. What neither config sets is left out.
    """
    found = [
        {
            key: value
            for name, node in cfg.items()
            if name != "overrides"
            for key, value in _values(node, name, cfg.default_scope)
        }
        for cfg in (one, other)
    ]
    rows = []
    for key in {**found[0], **found[1]}:
        values = [values.get(key) for values in found]
        if all(value is None or value.is_default for value in values):
            continue
        texts = [_shown(value) for value in values]
        if len({value and value.text for value in values}) > 1:
            rows.append(Difference(key, *texts))
    return rows


def _shown(value: _Found | None) -> str:
    if value is None:
        return NOT_SET
    return f"{value.text} (default)" if value.is_default else value.text


def _values(node: Any, key: str, scope: str) -> Iterator[tuple[str, _Found]]:
    """Values at and below a node, with the defaults of the classes that it names."""
    if isinstance(node, Mapping) and node:
        kind = node.get("type")
        if kind is not None:
            target = find_class(kind, key, scope)
            yield key, _Found(_class_text(target or kind), False)
            for name, value in _defaults(target).items():
                if name not in node:
                    yield f"{key}.{name}", _Found(_text(value), True)
        for name, value in node.items():
            if name != "type":
                yield from _values(value, f"{key}.{name}", scope)
    elif isinstance(node, (list, tuple)) and any(isinstance(item, Mapping) for item in node):
        seen: Counter[str] = Counter()
        for place, item in enumerate(node):
            kind = item.get("type") if isinstance(item, Mapping) else None
            name = str(place) if kind is None else _text(kind).rpartition(".")[2]
            seen[name] += 1
            number = f"[{seen[name]}]" if seen[name] > 1 else ""
            yield from _values(item, f"{key}.{name}{number}", scope)
    else:
        yield key, _Found(_text(node), False)


def _defaults(target: Any) -> dict[str, Any]:
    if target is None:
        return {}
    try:
        found = arguments(target)[0]
    except (TypeError, ValueError):  # not written in Python
        return {}
    return {name: value for name, value in found.items() if value is not inspect.Parameter.empty}


def _class_text(kind: Any) -> str:
    """Name with the library, as several have a class of the same name."""
    module = getattr(kind, "__module__", "")
    return f"{module.partition('.')[0]}.{kind.__name__}" if module else _text(kind)


def _text(value: Any) -> str:
    """A value as a reader writes it; a list and a tuple of the same are the same."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    if inspect.isclass(value) or inspect.isroutine(value):
        return value.__name__
    return str(value) or "''"

"""A loaded config as the text of one file: no parents, options applied, read back as the same."""

import enum
import inspect
import keyword
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .locate import find_config
from .read_file import read_file

WIDTH = 100
PLAIN = (bool, int, float, str, bytes, type(None))
NOT_FINITE = ("inf", "-inf", "nan")


def config_text(cfg: Config) -> str:
    """The config as Python.

    MMEngine's ``pretty_text`` turns objects that are no ``type``, such as
    ``InterpolationMode.BICUBIC``, into text, and is not the same when it is read.

    Args:
        cfg: from ``load_config``.

    Raises:
        ValueError: a value that no import gives, such as a class made in a function.
    """
    writer = _Writer()
    values = {key: value for key, value in cfg.items() if key != "overrides"}
    imports = _custom_imports(cfg)
    if imports:
        values = {"custom_imports": dict(imports=imports), **values}
    lines = [f"{key} = {writer.text(value, 0, key)}" for key, value in values.items()]
    origin = " ".join([str(cfg.filename), *(f"{k}={v}" for k, v in cfg.overrides.items())])
    about = f'"""All values of a config.\n\n    {_quoted(origin)}\n"""'
    named = [f"from {module} import {name}" for module, name in writer.imports()]
    return "\n".join([about, "", *named, "", *lines]) + "\n"


def _custom_imports(cfg: Config) -> list[str]:
    """Modules that the file and the options import, for the names that they register."""
    options = cfg.overrides.get("custom_imports.imports")
    found = []
    for names in (
        (read_file(find_config(Path(cfg.filename))).get("custom_imports") or {}).get("imports"),
        options,
    ):
        found += [names] if isinstance(names, str) else list(names or ())
    return list(dict.fromkeys(found))


def _quoted(text: str) -> str:
    return text.encode("unicode_escape").decode().replace('"""', "'''")


class _Writer:
    """Values as text, and the imports that it needs."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, str], str] = {}  # (module, name) -> name in the file

    def imports(self) -> list[tuple[str, str]]:
        """(module, name), or (module, name as other) where two things have one name."""
        return sorted(
            (module, name if name == here else f"{name} as {here}")
            for (module, name), here in self.names.items()
        )

    def text(self, value: Any, indent: int, key: str) -> str:
        """A value, on lines of its own where it is long."""
        opening, items, closing = self._parts(value, indent, key)
        line = opening + ", ".join(items) + closing
        if len(line) + indent <= WIDTH and "\n" not in line:
            return line
        space = " " * (indent + 4)
        inner = "".join(f"{space}{item},\n" for item in items)
        return f"{opening}\n{inner}{' ' * indent}{closing}" if items else line

    def _parts(self, value: Any, indent: int, key: str) -> tuple[str, list[str], str]:
        deeper = indent + 4
        if isinstance(value, Mapping):
            if all(isinstance(k, str) and _is_name(k) for k in value):
                pairs = {k: self.text(v, deeper, f"{key}.{k}") for k, v in value.items()}
                return "dict(", [f"{k}={text}" for k, text in pairs.items()], ")"
            texts = [f"{k!r}: {self.text(v, deeper, f'{key}.{k}')}" for k, v in value.items()]
            return "{", texts, "}"
        if isinstance(value, (list, tuple)):
            texts = [self.text(item, deeper, f"{key}.{i}") for i, item in enumerate(value)]
            if isinstance(value, list):
                return "[", texts, "]"
            return ("(", texts, ",)" if len(texts) == 1 else ")")
        return self._atom(value, key), [], ""

    def _atom(self, value: Any, key: str) -> str:
        if isinstance(value, enum.Enum):
            return f"{self._import(type(value), key)}.{value.name}"
        if type(value) in PLAIN:
            # inf and nan are no literals
            return repr(value) if repr(value) not in NOT_FINITE else f"float({str(value)!r})"
        if inspect.isclass(value) or inspect.isroutine(value):
            return self._import(value, key)
        raise ValueError(f"{key}: {value!r} cannot be written to a config file")

    def _import(self, target: Any, key: str) -> str:
        name = target.__qualname__
        if not name.isidentifier():
            raise ValueError(f"{key}: {target!r} cannot be imported, so no config file can name it")
        place = target.__module__, name
        if place not in self.names:
            taken = set(self.names.values())
            number = next(n for n in range(1, len(taken) + 2) if _numbered(name, n) not in taken)
            self.names[place] = _numbered(name, number)
        return self.names[place]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}{number}"


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)

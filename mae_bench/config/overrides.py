"""Overrides of a config as they stand on a command line, ``--cfg-options key=value``.

A value is text as it stands, spaces and commas included, unless it is a number, ``true``,
``false``, ``none``, numbers with commas between them, or something in quotes or brackets, which is
read as Python reads it. MMEngine's own parser drops spaces, cuts at commas and takes quotes off
numbers.
"""

import argparse
import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

_CONSTANTS = {"none": None, "null": None, "true": True, "false": False}
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)")  # 007 is a name
_NUMBER = re.compile(
    rf"{_WHOLE.pattern}|[+-]?((\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?|inf|nan)"
)
# YAML reads these as text, though a number was meant.
_YAML_NUMBER = re.compile(r"[+-]?\d+[eE][+-]?\d+")


class OptionsAction(argparse.Action):
    """``nargs="+"`` of ``key=value``, gathered in a dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the options to those of an earlier ``--cfg-options``."""
        try:
            setattr(namespace, self.dest, {**getattr(namespace, self.dest), **read_options(values)})
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Overrides from the words of a command line.

    Raises:
        ValueError: a word is no ``key=value``, or its value cannot be read.
    """
    pairs = {}
    for word in words:
        key, separator, text = word.partition("=")
        if not separator or not key.strip():
            raise ValueError(f"{word!r} is no key=value; a value with spaces belongs in quotes")
        pairs[key.strip()] = text
    return parse_options(pairs)


def parse_options(options: Mapping[str, str]) -> dict[str, Any]:
    """Values of overrides from their text.

    Raises:
        ValueError: a value cannot be read; the message names its key.
    """
    values = {}
    for key, text in options.items():
        try:
            values[key] = parse_value(text)
        except ValueError as error:
            raise ValueError(f"{key}={text}: {error}") from None
    return values


def parse_value(text: str) -> Any:
    """A value from its text.

    Raises:
        ValueError: it starts as a quoted text, list, tuple or dict and is none.
    """
    word = text.strip()
    if word.lower() in _CONSTANTS:
        return _CONSTANTS[word.lower()]
    parts = [part.strip() for part in word.split(",")]
    if all(_NUMBER.fullmatch(part) for part in parts):
        numbers = [_number(part) for part in parts]
        return numbers if len(parts) > 1 else numbers[0]
    if not re.match(r"['\"(\[{]|dict\(", word):
        return text
    try:
        tree = ast.parse(word, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"not a Python literal: if it is text, quote it, {word!r}") from None
    return _literal(tree.body)


def _number(word: str) -> int | float:
    return int(word) if _WHOLE.fullmatch(word) else float(word)


def _literal(node: ast.expr) -> Any:
    """Value of a literal; names in it are None, true and false, or text without its quotes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, type(None))):
        return node.value
    if isinstance(node, (ast.Name, ast.Attribute)):
        word = ast.unparse(node)
        return float(word) if word in ("inf", "nan") else _CONSTANTS.get(word.lower(), word)
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_literal(item) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_literal(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        if all(item.arg for item in node.keywords):
            return {str(item.arg): _literal(item.value) for item in node.keywords}
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _literal(node.operand)
        if isinstance(value, (int, float)):
            return -value if isinstance(node.op, ast.USub) else value
    text = ast.unparse(node)
    raise ValueError(f"{text} is not a Python literal: if it is text, quote it, {text!r}")


def as_options(overrides: Mapping[str, Any]) -> dict[str, str]:
    """Text of each value: numbers, true and false, null, text, and lists and dicts of these.

    YAML reads ``1e-3`` as text, the command line as the number that was meant.

    Raises:
        ValueError: a value of another type, such as a date.
    """
    options = {}
    for key, value in overrides.items():
        meant = _meant(value)
        text = meant if isinstance(meant, str) and _reads_as(meant, meant) else repr(meant)
        if not _reads_as(text, meant):
            raise ValueError(
                f"{key}: a {type(value).__name__} cannot stand on a command line: {value!r}; quote "
                "it if it is text"
            )
        options[key] = text
    return options


def _meant(value: Any) -> Any:
    if isinstance(value, str) and _YAML_NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_meant, value))
    if isinstance(value, dict):
        return {key: _meant(item) for key, item in value.items()}
    return value


def _reads_as(text: str, value: Any) -> bool:
    try:
        return repr(parse_value(text)) == repr(value)  # nan is not equal to itself
    except ValueError:
        return False

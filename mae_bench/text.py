"""Text of strangers, such as labels and what a checkpoint says of itself, made safe to show."""

import re
from typing import Any

from rich.console import Console
from rich.text import Text


def printable(text: object) -> str:
    """Text in which nothing moves a cursor, changes a colour or turns the direction of writing.

    Characters that are not printable become their escapes, such as ``\\x1b``; lines stay lines.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, on one line: no HTML, link, emphasis or formula."""
    line = printable(" ".join(text.split("\n")))
    line = re.sub(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w))", r"\\\1", line)
    return re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;")


def csv_value(value: object) -> object:
    """What a spreadsheet does not take for a formula; numbers stay numbers, None is empty."""
    if isinstance(value, str):
        return f"'{printable(value)}" if value[:1] in "=+-@\t\r\n" and value else printable(value)
    return "" if value is None else value


class PlainConsole(Console):
    """A terminal that shows text as it is, also in tables; only what has a style is styled."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Text without markup, emoji or colours of numbers, and printable."""
        plain = {"markup": False, "emoji": False, "highlight": False}
        return super().render_str(printable(text), **{**options, **plain})

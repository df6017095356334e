"""A table as text cells, and what it looks like in Markdown and LaTeX."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from ..text import markdown_text, printable

PLUS_MINUS, MINUS, DOWN, TIMES = "\u00b1", "\u2212", "\u2193", "\u00d7"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a line break a bracket would be read as its argument
    PLUS_MINUS: r"$\pm$",
    MINUS: "$-$",
    DOWN: r"$\downarrow$",
    TIMES: r"$\times$",
    "\u00b7": r"$\cdot$",
    "\u2013": "--",
    "\u2026": r"\ldots{}",
}

# On a terminal, in characters.
LABEL_WIDTH = 16  # of a row's label, at least; longer ones are folded
COLUMN_GAP = 2  # a space behind a column, and one between two


@dataclass(frozen=True)
class GridCell:
    """Text of a cell, letters of its footnotes, and (label, run) of the records behind it."""

    text: str = ""
    bold: bool = False
    marks: tuple[str, ...] = ()
    runs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class GridRow:
    """A row; `soft` is one that says less than the others, such as a difference."""

    label: str
    cells: Sequence[GridCell]
    soft: bool = False


@dataclass(frozen=True)
class Grid:
    """A table: `headings` has the heading of the row labels first; `notes` are (letter, text)."""

    name: str
    about: str
    headings: Sequence[str]
    rows: Sequence[GridRow]
    notes: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def markdown(self) -> str:
        """The bare table in GitHub-flavoured Markdown."""
        lines = [_markdown_row(map(markdown_text, self.headings))]
        lines.append("|---|" + "---:|" * (len(self.headings) - 1))
        for row in self.rows:
            texts = []
            for cell in row.cells:
                text = markdown_text(cell.text)
                text = f"**{text}**" if cell.bold else text
                texts.append(f"{text}<sup>{','.join(cell.marks)}</sup>" if cell.marks else text)
            lines.append(_markdown_row([markdown_text(row.label), *texts]))
        return "\n".join(lines) + "\n"

    def markdown_section(self) -> str:
        """The table with heading, description and footnotes."""
        name, about = markdown_text(self.name), markdown_text(self.about)
        parts = [f"## {name}\n", about + "\n", self.markdown()]
        notes = [f"- <sup>{letter}</sup> {markdown_text(text)}" for letter, text in self.notes]
        if notes:
            parts.append("\n".join(notes) + "\n")
        return "\n".join(part for part in parts if part.strip())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """For a ``PlainConsole``: columns that do not fit beside others below them, then notes."""
        labels = [self.headings[0], *(row.label for row in self.rows)]
        label = min(LABEL_WIDTH, max(map(cell_len, labels)))
        room = options.max_width - label - COLUMN_GAP - 1
        parts = self._parts(room)
        notes = "\n".join(f"{letter}  {text}" for letter, text in self.notes)
        for number, columns in enumerate(parts, 1):
            table = Table(
                title=self.name if number == 1 else None,
                box=SIMPLE_HEAD,
                padding=(0, 1, 0, 0),
                caption=(notes or None) if number == len(parts) else None,
                caption_justify="left",
            )
            table.add_column(self.headings[0], overflow="fold", min_width=label)
            folded = sum(self._width(place, str.splitlines) for place in columns) > room
            for place in columns:
                width = self._width(place) - COLUMN_GAP if folded else None
                heading = self.headings[1 + place]
                table.add_column(heading, justify="right", overflow="fold", width=width)
            for row in self.rows:
                cells = [row.cells[place] for place in columns]
                texts = [Text(_shown(cell), "bold green" if cell.bold else "") for cell in cells]
                table.add_row(row.label, *texts, style="dim" if row.soft else None)
            yield table

    def _width(self, place: int, lines: Callable[[str], Sequence[str]] = str.split) -> int:
        """Characters that a column takes where its heading is in such lines, with the gap."""
        heading = lines(self.headings[1 + place])
        texts = [*heading, *(_shown(row.cells[place]) for row in self.rows)]
        return max(map(cell_len, texts), default=0) + COLUMN_GAP

    def _parts(self, room: int) -> list[list[int]]:
        """Places of the cells that stand beside each other in so many characters, at least one."""
        parts: list[list[int]] = [[]]
        left = room
        for place in range(len(self.headings) - 1):
            width = self._width(place)
            if width > left and parts[-1]:
                parts.append([])
                left = room
            parts[-1].append(place)
            left -= width
        return parts

    def latex(self) -> str:
        """A ``table`` environment that needs no package; wide tables are set in small type."""
        lines_of_text: list[list[str]] = [
            list(self.headings),
            *([row.label, *(c.text for c in row.cells)] for row in self.rows),
        ]
        width = sum(max(map(len, column)) + 2 for column in zip(*lines_of_text, strict=True))
        # characters that fit on a page of 180 mm
        size = r"\small" if width < 95 else r"\scriptsize" if width < 120 else r"\tiny"
        lines = [r"\begin{table}[p]", r"\centering", size, r"\setlength{\tabcolsep}{3pt}"]
        lines.append(rf"\caption{{{escape_latex(f'{self.name}. {self.about}')}}}")
        lines.append(rf"\begin{{tabular}}{{l{'r' * (len(self.headings) - 1)}}}")
        lines += [r"\hline", _latex_row([escape_latex(text) for text in self.headings]), r"\hline"]
        for row in self.rows:
            texts = []
            for cell in row.cells:
                text = escape_latex(cell.text)
                text = rf"\textbf{{{text}}}" if cell.bold else text
                marks = rf"\textsuperscript{{{','.join(cell.marks)}}}" if cell.marks else ""
                texts.append(text + marks)
            lines.append(_latex_row([escape_latex(row.label), *texts]))
        lines += [r"\hline", r"\end{tabular}"]
        if self.notes:
            lines.append(r"\par\smallskip\begin{minipage}{\linewidth}\raggedright\footnotesize")
            lines += [
                rf"\textsuperscript{{{letter}}} {escape_latex(text)}\par"
                for letter, text in self.notes
            ]
            lines.append(r"\end{minipage}")
        lines.append(r"\end{table}")
        return "\n".join(lines) + "\n"


def latex_document(grids: Sequence[Grid]) -> str:
    """A document with every table; the ``table`` environments can be copied as they are."""
    head = [
        r"\documentclass{article}",
        r"\usepackage[utf8]{inputenc}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage[margin=15mm]{geometry}",
        r"\begin{document}",
    ]
    body = [grid.latex() for grid in grids]
    return "\n".join([*head, "", "\n".join(body), r"\end{document}"]) + "\n"


def escape_latex(text: str) -> str:
    """`text` as LaTeX prints it; a character that LaTeX does not know becomes ``?``."""
    out = []
    for character in text:
        if character in _LATEX:
            out.append(_LATEX[character])
        else:
            # pdflatex with T1 fonts prints Latin-1; other scripts need packages we cannot guess
            out.append(character if character.isprintable() and ord(character) < 256 else "?")
    return "".join(out)


def _shown(cell: GridCell) -> str:
    """A cell with its marks on a terminal."""
    return printable(f"{cell.text} {','.join(cell.marks)}" if cell.marks else cell.text)


def _markdown_row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"

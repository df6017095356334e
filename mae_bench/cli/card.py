"""One page on a checkpoint: what it is, what it sees, what cheap measures say, what tables cost.

tools/card.py mine.safetensors
tools/card.py MAE=work_dirs/demo/seed0/MAE/pretrain/checkpoint.safetensors --data data/miniworld

Frozen measures run on the ImageNet or MiniWorld below --data, and robustness of the linear heads on
the sets that are there; or on images of your own, in the layouts of docs/own_data.md. Each number
is a record in the work dir; the same command goes on where it was stopped, and checkpoints measured
there before stand beside the new one.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .quiet import without_logs

if TYPE_CHECKING:
    from ..checkpoint.reader import Checkpoint
    from ..results.grid import Grid
    from ..results.html_report import Section
    from ..suite.card_data import CardData
    from ..suite.state import State
    from ..visualize.reconstruction import Comparison

PICTURES = 4
UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="file of any format that is read, or NAME=FILE")
    parser.add_argument("--data", default="data", help="folder of the data sets; default: data")
    parser.add_argument(
        "--budget", default="1h", help="time for all measures, such as 90s, 20m, 1h (default)"
    )
    parser.add_argument("--work-dir", help="records and page; work_dirs/card, one for each data")
    parser.add_argument(
        "--config",
        help="of the pre-training, for a decoder that is not the paper's",
    )
    parser.add_argument(
        "--gpu", default="h100-80g", help="kind for the hours of the full tables; default: h100-80g"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try failed jobs once more")
    return parser.parse_args()


def main() -> int:
    """Make the card with the options of the command line."""
    return make_card(**vars(parse_args()))


def make_card(
    checkpoint: str,
    data: str = "data",
    budget: str = "1h",
    work_dir: str | None = None,
    config: str | None = None,
    gpu: str = "h100-80g",
    retry_failed: bool = False,
) -> int:
    """Measure, draw, write the page; each argument is the command's option.

    Returns:
        1 if a measure failed, else 0.

    Raises:
        FileNotFoundError: no such checkpoint or data.
        ValueError: a file that cannot be read, a budget that is none, or images of one's own
            that have changed since records in the work dir.
    """
    from ..checkpoint.reader import read_checkpoint
    from ..results.html_report import Page, Section, write_report
    from ..results.table import folder_name
    from ..suite.card_data import FULL, NoDataError, check_unchanged, find_data
    from ..suite.plan import command_words
    from ..text import printable
    from .inspect_checkpoint import about_file

    seconds = parse_budget(budget)
    name, equals, file = checkpoint.partition("=")
    file = file if equals else name
    read = read_checkpoint(file)
    if not equals:  # files of many runs are called checkpoint.safetensors
        name = f"{Path(file).stem}-{read.sha256[:8]}"
    found: CardData | None = None
    left_out: dict[str, str] = {}
    try:
        found = find_data(data)
    except NoDataError as error:
        left_out["measures"] = str(error)
        left_out["reconstructions, features"] = "no validation images"
    kind = "none" if found is None else found.name
    folder = Path(work_dir or Path("work_dirs/card", kind))
    facts = {**about_file(file, read), "as a backbone": how_it_loads(file)}

    out: Mapping[str, str] = {}  # jobs that were not done
    sections: list[Section] = []
    failed: Mapping[str, str] = {}
    if found is not None:
        check_unchanged(found, folder)
        try:
            state, absent, out = measure(found, folder, name, file, read, seconds, retry_failed)
            left_out |= absent | out
            failed = state.failed
        except (FileNotFoundError, ValueError) as error:
            left_out["measures"] = str(error)
        pictures = cache(partial(some_pictures, found))
        decoder = config or found.pretrain
        drawings: list[tuple[str, Callable[[], tuple[str, Sequence[Comparison]]]]] = [
            ("Reconstructions", lambda: reconstructions(file, pictures(), decoder)),
            ("Features", lambda: features(file, pictures(), found.recipe)),
        ]
        for title, draw in drawings:
            try:
                about, comparisons = draw()
                sections.append(picture_section(title, about, comparisons))
            except (FileNotFoundError, ValueError) as error:
                left_out[title.lower()] = str(error)
    sections.append(full_tables(FULL if found is None else found.full, name, file, gpu))
    if left_out or failed:
        words = ["python", *command_words("tools/card.py"), f"{name}={file}", "--data", data]
        words += ["--work-dir", str(folder), "--budget", "2h", *["--retry-failed"] * bool(failed)]
        when = "Once what failed is mended:" if failed else "To go on, with more time:"
        again = [(when, shlex.join(words))] if out or failed else []
        sections.insert(0, Section("Left out", facts=left_out, commands=again))
    page = Page(f"Card of {name}", [Section("In the file", facts=facts)], sections)
    folder.mkdir(parents=True, exist_ok=True)
    out_file = write_report(folder, folder / f"{folder_name(name)}.html", page=page)
    for what, why in left_out.items():
        print(printable(f"left out: {what}: {why}"))
    for job, reason in failed.items():
        print(printable(f"failed: {job}: {reason}"), file=sys.stderr)
    print(out_file)
    return 1 if failed else 0


def parse_budget(text: str) -> float:
    """Seconds of ``"90s"``, ``"20m"`` or ``"1h"``.

    Raises:
        ValueError: something else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise ValueError(f"--budget {text}: must be a time such as 90s, 20m or 1h")
    return float(match[1]) * UNITS[match[2]]


@without_logs()
def how_it_loads(file: str) -> str:
    """What becomes of each tensor where a backbone is made of the file, or why none is."""
    from ..checkpoint.build import build_backbone

    try:
        return build_backbone(file, "tokens").loading_report.summary().removeprefix(f"{file}: ")
    except ValueError as error:
        return str(error)


def measure(
    data: CardData,
    work_dir: Path,
    name: str,
    file: str,
    checkpoint: Checkpoint,
    budget: float,
    retry_failed: bool,
) -> tuple[State, dict[str, str], dict[str, str]]:
    """Run what the budget reaches to.

    Returns:
        the state afterwards; jobs that have no data; those that the budget did not reach to. Of
        each why, and of the latter the command.

    Raises:
        ValueError: no ViT, or the work dir holds another checkpoint of that name.
    """
    from ..results.table_file import write_suite
    from ..suite.card_suite import (
        card_suite,
        command_of,
        measured_here,
        row_of,
        within,
        without_sets,
    )
    from ..suite.display import PlainDisplay
    from ..suite.executor import LocalExecutor, cpu_cores, run_jobs, visible_gpus
    from ..suite.plan import plan_jobs
    from ..suite.state import current_state
    from ..text import PlainConsole

    suite = card_suite(data, work_dir, name, row_of(checkpoint, file, data))
    jobs = plan_jobs(measured_here(suite, name), work_dir).jobs
    jobs.sort(key=lambda job: job.initialisation == "random")  # what it is compared with comes last
    gpus = visible_gpus()
    slots = len(gpus) or min(2, cpu_cores())
    state = current_state(jobs, slots, retry_failed)
    absent = without_sets(state, suite, data)
    out = within(budget, state)
    write_suite(suite, work_dir)
    with PlainDisplay(PlainConsole()) as display:
        run_jobs(state, LocalExecutor(slots, gpus), display, budget)
    out |= {job.name: "was not done when the budget was spent" for job in state.open()}
    commands = {job.name: command_of(job) for job in jobs}
    return state, absent, {one: f"{why}: {commands[one]}" for one, why in out.items()}


def some_pictures(data: CardData) -> dict[str, Path]:
    """A few validation images, spread over all of them.

    Raises:
        FileNotFoundError: they lie in archives.
    """
    from ..evaluation.applied import find_images

    try:
        found = list(find_images([data.pictures]).items())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{data.pictures}: pictures are drawn of single files, and there are none: unpack some"
        ) from None
    return dict(found[:: -(-len(found) // PICTURES)])


@without_logs()
def reconstructions(
    file: str, pictures: Mapping[str, Path], config: str | None
) -> tuple[str, Sequence[Comparison]]:
    """Pictures of which three quarters are hidden, and what a decoder makes of them."""
    from .reconstruct import reconstruct

    return "75 % of the patches are hidden; visible ones are shown as predicted.", reconstruct(
        file, list(pictures.values()), config
    )


@without_logs()
def features(
    file: str, pictures: Mapping[str, Path], recipe: str
) -> tuple[str, Sequence[Comparison]]:
    """Patches coloured by their principal components, and attention of the class token."""
    from ..config.load import load_config
    from .show_features import look

    # What the measures feed it too, where the file does not say.
    scale = load_config(recipe).model.data_preprocessor
    rows, about = look(file, pictures, unstated=(scale.mean, scale.std))
    return f"Patches by their first three principal components: {about}", rows


def picture_section(title: str, about: str, comparisons: Sequence[Comparison]) -> Section:
    """Pictures in rows as a section of the page."""
    import base64

    from ..results.html_report import Section
    from ..results.pictures import Picture
    from ..visualize.picture_page import encode_png
    from ..visualize.reconstruction import draw_comparisons

    headings = ", ".join(heading for heading, _ in comparisons[0].cells)
    names = ", ".join(one.name for one in comparisons)
    png = base64.b64encode(encode_png(draw_comparisons(comparisons))).decode()
    picture = Picture(f"data:image/png;base64,{png}", f"{title} of {names}: {headings}")
    return Section(title, about, pictures=[(headings, picture)])


@without_logs()
def full_tables(full: str, name: str, file: str, gpu: str) -> Section:
    """What each task at its full recipe would cost, how to start it, and what was published."""
    from ..config.locate import find_config
    from ..results.html_report import Section
    from ..results.measured import MeasuredTable
    from ..results.table_file import load_suite
    from ..results.table_grid import table_grid
    from ..suite.plan import command_words, plan_jobs
    from ..suite.rows import with_checkpoints

    command = ["python", *command_words("tools/run_suite.py"), full]
    command += ["--checkpoint", f"{name}={file}"]
    try:
        suite = with_checkpoints(load_suite(find_config(full)), {name: file})
    except ValueError as error:
        return Section("Full tables", str(error))
    jobs = plan_jobs(suite, Path("work_dirs", Path(full).stem)).jobs
    published = [table_grid(MeasuredTable(table)) for table in suite.tables if table.published]
    return Section(
        "Full tables",
        "What this page may lead to. Hours are estimates of the trainings alone, by the code of "
        "tools/estimate.py. Below are the published numbers.",
        grids=[costs_grid(jobs, gpu), *published],
        commands=[
            ("All of it:", shlex.join(command)),
            ("One task:", f"{shlex.join(command)} --only TASK"),
        ],
    )


def costs_grid(jobs: Sequence[Any], gpu: str) -> Grid:
    """Cost of each job: minutes on a core where the suite says them, else hours on GPUs."""
    from ..results.grid import Grid, GridCell, GridRow
    from ..suite.gpu_cost import estimate

    rows = []
    for job in jobs:
        found = estimate(job, gpu)
        core = "" if job.minutes is None else f"{job.minutes:g}"
        hours = "" if found is None or found.hours is None else f"{found.hours:,.2f}"
        hours = "< 0.01" if hours == "0.00" else hours
        cells = [core, hours, "" if found is None else str(found.gpus)]
        rows.append(GridRow(job.task, [GridCell(text) for text in cells]))
    headings = ["task", "minutes on a core", f"hours on {gpu}", "GPUs"]
    about = "Empty: not known before it runs. Tests need what they test."
    return Grid("Costs", about, headings, rows)

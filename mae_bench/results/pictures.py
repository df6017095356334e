"""Pictures that runs have left behind, inlined for the report."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..run_folder import PREDICTIONS_NAME, RECONSTRUCTIONS_NAME
from .figures import same_task
from .record import Record

COUNT = 4  # of each initialisation and task; more would make the file large
SIDE = 192  # least height of a picture in pixels: smaller ones are enlarged by a whole number


@dataclass(frozen=True)
class Picture:
    """An inlined image with its text for those who do not see it."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Comparison:
    """Pictures of one task: for each sample one picture per label, in the order of `labels`."""

    title: str
    labels: list[str]
    samples: list[list[Picture]]


def reconstructions(
    work_dir: Path, records: Mapping[str, Record], problems: list[str]
) -> list[tuple[str, Picture]]:
    """(run, picture) of each pre-training that has drawn one; `problems` gets those damaged."""
    found = []
    for name in records:
        path = work_dir / name / RECONSTRUCTIONS_NAME
        if path.is_file():
            alt = f"Masked, reconstructed and original pictures of {name}"
            picture = _picture(path, alt, problems)
            found += [(name, picture)] if picture else []
    return found


def comparisons(
    work_dir: Path,
    records: Mapping[str, Record],
    tasks: Sequence[str],
    labels: Mapping[str, str],
    problems: list[str],
) -> list[Comparison]:
    """Drawn predictions of the last evaluation, the same sample side by side, of the first seed.

    `labels`: run -> what it is called. `problems` gets the names of damaged pictures; a sample of
    which one is damaged is left out.
    """
    found = []
    for task in tasks:
        pictures: dict[str, dict[str, Path]] = {}
        for label in dict.fromkeys(labels.values()):
            own = (name for name, one in labels.items() if one == label)
            name = next((name for name in own if same_task(records[name], task)), "")
            drawn = _drawn(work_dir / name, records[name]) if name else {}
            if drawn:
                pictures[label] = drawn
        if not pictures:
            continue
        common = set.intersection(*(set(drawn) for drawn in pictures.values()))
        samples: list[list[Picture]] = []
        for name in sorted(common, key=_step_and_name):
            paths = [(label, drawn[name]) for label, drawn in pictures.items()]
            row = [_picture(path, _alt(task, label, path), problems) for label, path in paths]
            samples += [[one for one in row if one]] if all(row) else []
            if len(samples) == COUNT:
                break
        if samples:
            found.append(Comparison(task, list(pictures), samples))
    return found


def _picture(path: Path, alt: str, problems: list[str]) -> Picture | None:
    try:
        return Picture(_data_uri(path), alt)
    except Exception as error:  # a damaged picture can fail in any way
        problems.append(f"{path}: left out, no intact picture ({error})")
        return None


def _data_uri(path: Path) -> str:
    """PNG as a data URI; a small one is enlarged so that its pixels can be seen."""
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        zoom = -(-SIDE // image.height)
        if zoom > 1:
            out = io.BytesIO()
            size = (image.width * zoom, image.height * zoom)
            image.convert("RGB").resize(size, Image.Resampling.NEAREST).save(out, "PNG")
            content = out.getvalue()
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _alt(task: str, label: str, path: Path) -> str:
    """What a picture shows; what was drawn says so in a text file beside it."""
    text = path.with_suffix(".txt")
    shown = text.read_bytes().decode(errors="replace").strip() if text.is_file() else path.name
    return f"{task}, {label}: {shown}"


def _drawn(folder: Path, record: Record) -> dict[str, Path]:
    """Pictures by file name; MMEngine ends the name with the step it was drawn at."""
    own = {path.name: path for path in sorted(folder.glob(f"{PREDICTIONS_NAME}/*.png"))}
    if own:
        return own
    # a validation in the middle of training shows a model that nobody has a number of
    last = record.run_card.get("iterations", 0)
    return {
        path.name: path
        for path in sorted(folder.glob("*/vis_data/vis_image/*.png"))
        if _step_and_name(path.name)[0] >= last
    }


def _step_and_name(name: str) -> tuple[int, str]:
    match = re.search(r"_(\d+)\.png$", name)
    return (int(match[1]) if match else 0, name)

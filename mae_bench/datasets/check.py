"""Look over the data of a config before anything is trained: what is wrong, and what to do."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from rich.console import Console
from rich.progress import Progress

from .file_checks import Memory, check_files
from .findings import DataError, Findings
from .miniworld.world import check_contents
from .one_set import check_batch, innermost, mask_tally, tell_of_masks
from .orientation import Orientations
from .published_counts import COUNTS, ROBUSTNESS_COUNTS, published_split
from .robustness_sets import CORRUPTED, RobustnessSets
from .set_checks import check_sets

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
OWN_DATA = "miniworld"  # made here, in any size


def check_data(
    cfg: Config, sample: int | None = None, memory: Path | None = None
) -> tuple[list[str], Findings]:
    """Examine the data of every loader of a config.

    Args:
        cfg: from ``load_config``.
        sample: images of each set to decode, evenly spread; None: all.
        memory: file in which verdicts on images are kept, see :class:`Memory`.

    Returns:
        what was looked at, one line for each data set; and what was found.
    """
    init_default_scope(cfg.default_scope)
    findings = Findings()
    lines: list[str] = []
    built: dict[str, Any] = {}
    seen: list[str] = []
    for loader in LOADERS:
        config = (cfg.get(loader) or {}).get("dataset")
        if config is None or str(config) in seen:  # the test set is often the validation set
            continue
        seen.append(str(config))
        own = Findings()
        dataset = _build(config, f"{loader}.dataset", own)
        findings.add(own, f"{loader}.dataset")
        root = _innermost_config(config).get("data_root")
        if dataset is None:
            lines.append(f"{loader}.dataset: {root}, cannot be read")
            continue
        try:
            check_contents(root or ".")
        except ValueError as error:
            findings.problems.append(str(error))
        built[loader] = dataset
        classes = (getattr(dataset, "metainfo", None) or {}).get("classes") or ()
        of = f" of {len(classes)} classes" if classes else ""
        lines.append(f"{loader}.dataset: {root}, {len(dataset):,} images{of}")
    readable = {k: v for k, v in built.items() if not isinstance(v, RobustnessSets)}
    findings.add(check_sets(cfg, readable, every_file=True))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for loader, dataset in built.items():
            own = Findings()
            _check_count(dataset, own)
            if isinstance(dataset, RobustnessSets):
                _check_robustness(dataset, own)
            _check_files(cfg, loader, dataset, sample, Memory(memory), progress, own)
            findings.add(own, f"{loader}.dataset")
    return lines, findings


def _innermost_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    while "dataset" in config:
        config = config["dataset"]
    return config


def _build(config: Mapping[str, Any], where: str, findings: Findings) -> Any:
    """The data set, or None and why."""
    root = Path(_innermost_config(config).get("data_root") or ".")
    if not root.is_dir():
        fix = (
            "run `make data`, or `mae-bench make_miniworld`"
            if OWN_DATA in str(root)
            else f"put or link the data there, or correct {where}.data_root"
        )
        findings.problems.append(f"{root}: no such folder: {fix}")
        return None
    try:
        return DATASETS.build(config)
    except DataError as error:
        findings.add(error.findings, error.where)
    except (FileNotFoundError, ValueError) as error:
        findings.problems.append(" ".join(str(error).split()))
    except Exception as error:  # of a host library's reader, which names nothing
        what = " ".join(str(error).split())
        findings.problems.append(f"{root}: cannot be read ({type(error).__name__}: {what})")
    return None


def _check_count(dataset: Any, findings: Findings) -> None:
    """As many images as the public release, where it is one."""
    dataset = innermost(dataset)
    split = published_split(dataset)
    root = Path(getattr(dataset, "data_root", None) or ".")
    if split is None or OWN_DATA in str(root.resolve()):
        return
    count = getattr(dataset, "listed_images", len(dataset))
    if count != COUNTS[split]:
        findings.problems.append(
            f"{root}: {count:,} images, the published {split[0]} has {COUNTS[split]:,}: unpack "
            "the archive again; of another selection no number compares with the tables"
        )


def _check_robustness(sets: RobustnessSets, findings: Findings) -> None:
    findings.remarks += [f"not there: {line}" for line in sets.missing]
    for part in sets.parts:
        expected = ROBUSTNESS_COUNTS.get(part.group)
        if expected is not None and len(part.images) != expected:
            what = (
                "a corruption of one severity" if part.group == CORRUPTED else "the published set"
            )
            findings.problems.append(
                f"{part.images.root}: {len(part.images):,} images, {what} has {expected:,}: unpack "
                "the archive again"
            )


def _samples(dataset: Any, sample: int | None) -> list[dict[str, Any]]:
    if isinstance(dataset, RobustnessSets):
        paths = {str(p.images.path(i)): None for p in dataset.parts for i in range(len(p.images))}
        found = [dict(img_path=path) for path in paths]
    elif hasattr(dataset, "get_data_info"):
        found = [dataset.get_data_info(i) for i in range(len(dataset))]
    else:
        return []
    step = max(1, -(-len(found) // sample)) if sample else 1
    return found[::step]


def _check_files(
    cfg: Config,
    loader: str,
    dataset: Any,
    sample: int | None,
    memory: Memory,
    progress: Progress,
    findings: Findings,
) -> None:
    dataset = innermost(dataset)
    samples = _samples(dataset, sample)
    tally, sizes = mask_tally(dataset), Orientations(getattr(dataset, "exif_orientation", None))
    task = progress.add_task(loader, total=len(samples) * (1 if tally is None else 2))
    for found in check_files(dataset, samples, sizes, tally, memory):
        progress.advance(task)
        if found is not None:
            findings.add(found)
    if tally is not None:
        tell_of_masks(tally, dataset, loader, findings)
    if not findings.problems:
        check_batch(cfg, loader, dataset, sizes, findings)


def summary(lines: list[str], findings: Findings) -> Iterator[str]:
    """All of it as lines of text."""
    yield from lines
    yield from (f"note: {line}" for line in findings.remarks)
    yield from (f"wrong: {line}" for line in findings.problems)
    yield f"{len(findings.problems)} problems"

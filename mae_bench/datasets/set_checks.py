"""Do the data sets of a run, its model and its evaluators agree? Asked before anything is trained.

Sets are given as they were built, so nothing is read twice. Of files only some are looked at here;
``tools/check_data.py`` looks at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .findings import Findings
from .folders import class_folders, compare_labels, label_folders
from .one_set import TRAIN, check_host, class_names, innermost, look_at_some


def check_sets(
    cfg: Config, sets: Mapping[str, Any], world_size: int = 1, every_file: bool = False
) -> Findings:
    """Compare the data sets of a run with each other, the model's heads and the evaluators.

    Args:
        cfg: from ``load_config``.
        sets: ``"train_dataloader"``, ``"val_dataloader"``, ``"test_dataloader"`` -> data set; those
            that the run reads.
        world_size: processes that share a batch.
        every_file: the files are looked at elsewhere, all of them.
    """
    findings = Findings()
    for loader, dataset in sets.items():
        inner = innermost(dataset)
        where = f"{loader}.dataset"
        own = Findings()
        check_host(inner, own)
        own.add(getattr(inner, "findings", Findings()))
        own.add(check_length(cfg, loader, dataset, world_size))
        _check_heads(cfg, inner, own)
        if not every_file:
            look_at_some(cfg, loader, inner, own)
        findings.add(own, where)
    _check_pairs(sets, findings)
    _check_evaluators(cfg, sets, findings)
    return findings


def check_length(cfg: Config, loader: str, dataset: Any, world_size: int) -> Findings:
    """Find a set without images, or with fewer than a step needs where the rest is dropped."""
    findings = Findings()
    count, config = len(dataset), cfg.get(loader) or {}
    parts = (cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)
    stated = cfg.get("total_batch_size")
    batch = stated or (config.get("batch_size") or 1) * world_size * parts
    if not count and hasattr(dataset, "get_data_info"):  # robustness sets may all be done
        findings.problems.append("has no images")
    elif loader == TRAIN and config.get("drop_last") and count < batch:
        smaller = f"{loader}.batch_size={max(1, count // world_size // parts)}"
        findings.problems.append(
            f"{count} images are fewer than a batch of {batch}, and drop_last is set: set "
            + (f"total_batch_size={count}" if stated else smaller)
        )
    return findings


def _heads(node: Any, key: str) -> Iterator[tuple[str, int]]:
    """Keys ``num_classes`` of a model's parts, with their values."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name == "num_classes" and isinstance(value, int):
                yield f"{key}.{name}", value
            elif name != "backbone":
                yield from _heads(value, f"{key}.{name}")
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _heads(child, f"{key}.{i}")


def _check_heads(cfg: Config, dataset: Any, findings: Findings) -> None:
    classes = class_names(dataset)
    if not classes:
        return
    wrong = [f"{key}={n}" for key, n in _heads(cfg.get("model"), "model") if n != len(classes)]
    findings.wrong(
        wrong,
        f"parts of the model are for another number of classes than the {len(classes)} of the data",
        "set them to it, or metainfo.classes to the classes that are meant",
    )


def _check_pairs(sets: Mapping[str, Any], findings: Findings) -> None:
    """Labels have to mean the same in training and evaluation."""
    train = innermost(sets[TRAIN]) if TRAIN in sets else None
    for loader, dataset in sets.items():
        other = innermost(dataset)
        if train is None or other is train or not class_names(train) or not class_names(other):
            continue
        where = f"{loader}.dataset"
        one, two = class_names(train), class_names(other)
        for name in ("reduce_zero_label", "label_map"):
            values = [getattr(part, name, None) for part in (train, other)]
            if values[0] != values[1]:
                findings.problems.append(
                    f"{where}: {name} is {values[1]}, in training {values[0]}: labels would mean "
                    "other classes; give the same to both"
                )
        if one != two:
            at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
            what = (
                f"{len(two)} classes, in training {len(one)}"
                if at is None
                else f"label {at} is {two[at]!r}, in training {one[at]!r}"
            )
            findings.problems.append(f"{where}: {what}: give the same metainfo.classes to both")
        if getattr(train, "folder_to_idx", None) and getattr(other, "folder_to_idx", None):
            wrong, missing = compare_labels(
                train.folder_to_idx, train.img_prefix, other.folder_to_idx, other.img_prefix
            )
            findings.problems += [f"{where}: {line}" for line in wrong]
            findings.remarks += [f"{where}: {line}" for line in missing]
        _check_counts(train, other, where, findings)
        _check_overlap(train, other, where, findings)


def _check_counts(train: Any, other: Any, where: str, findings: Findings) -> None:
    """Classes without objects."""
    counts = getattr(train, "class_counts", None)
    if not counts:
        return
    classes = class_names(train)
    evaluated = getattr(other, "class_counts", None) or {}
    absent = [name for name in classes if not counts.get(name)]
    chosen = getattr(train, "_indices", None) is not None
    unlearned = [repr(name) for name in absent if evaluated.get(name)]
    if 2 * len(absent) >= len(classes) and len(classes) > 2 and not chosen:
        names = ", ".join(map(repr, absent[:3]))
        findings.problems.append(
            f"{TRAIN}.dataset: of {len(classes)} classes {len(classes) - len(absent)} occur, not "
            f"{names}, ...: set metainfo.classes to those of the data"
        )
    else:
        what = f"classes of {where} occur nowhere in training"
        findings.note(unlearned, what, "nothing can find them")
    if hasattr(other, "class_counts") and not sum(evaluated.values()):
        findings.problems.append(f"{where}: has no object of the classes, so nothing to evaluate")


def _check_overlap(train: Any, other: Any, where: str, findings: Findings) -> None:
    """Images that are trained on and evaluated: a model may know them by heart."""
    parts = (train, other)
    held_out = all(getattr(part, "hold_out", None) for part in parts)
    if held_out or not all(hasattr(part, "get_data_info") for part in parts):
        return
    if len({_folder(part) for part in parts}) > 1:
        return
    trained, evaluated = (
        {part.get_data_info(i).get("img_path") for i in range(len(part))} for part in parts
    )
    both = sorted(Path(path).name for path in trained & evaluated if path)
    findings.note(both, f"images of {where} are trained on too", "so it says little of others")


def _folder(dataset: Any) -> str:
    """Where the images of a data set are."""
    prefix = getattr(dataset, "data_prefix", None) or {}
    images = prefix.get("img") or prefix.get("img_path") or ""
    return str(Path(getattr(dataset, "img_prefix", "") or images).resolve())


def _check_evaluators(cfg: Config, sets: Mapping[str, Any], findings: Findings) -> None:
    """An evaluator that reads annotations itself has to read those of its loader, and so on."""
    for part in ("val", "test"):
        loader = f"{part}_dataloader"
        if loader not in sets:
            continue
        dataset = innermost(sets[loader])
        evaluators = cfg.get(f"{part}_evaluator") or []
        for evaluator in evaluators if isinstance(evaluators, Sequence) else [evaluators]:
            file = evaluator.get("ann_file")
            own = getattr(dataset, "ann_file", None)
            if file and own and Path(file).resolve() != Path(own).resolve():
                findings.problems.append(
                    f"{part}_evaluator.ann_file: {file} is not the file that {loader} reads, "
                    f"{own}: set it to that one"
                )
            topk = evaluator.get("topk") or ()
            topk = (topk,) if isinstance(topk, int) else topk
            count = len(class_names(dataset))
            if count and topk and max(topk) > count:
                findings.problems.append(
                    f"{part}_evaluator.topk={tuple(topk)} with {count} classes: set it to (1,)"
                )


def training_folder(cfg: Config) -> str | None:
    """Where the class folders that a config trains on would be; None where it has none."""
    dataset = (cfg.get(TRAIN) or {}).get("dataset") or {}
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    if dataset.get("ann_file") or not dataset.get("with_label", True):
        return None
    prefix = dataset.get("data_prefix") or dataset.get("split") or ""
    return str(Path(dataset.get("data_root") or "", prefix if isinstance(prefix, str) else ""))


def compare_classes(trained: Sequence[str], dataset: Any) -> Findings:
    """Compare the names of a test's classes with those that a model was trained on."""
    findings = Findings()
    names = class_names(innermost(dataset))
    for label, (one, two) in enumerate(zip(trained, names, strict=False)):
        if one != two:
            findings.problems.append(
                f"label {label} is {two!r}, and the checkpoint was trained on the classes "
                f"{', '.join(trained[:3])}{', ...' * (len(trained) > 3)}, where it is {one!r}: "
                "give these as metainfo.classes, if the labels mean the same"
            )
            break
    return findings


def compare_with_training(folder: Path, dataset: Any) -> Findings:
    """Compare the class folders of a test with those of training, where these are on disk."""
    findings = Findings()
    labels = getattr(innermost(dataset), "folder_to_idx", None)
    if labels and folder.is_dir():
        dataset = innermost(dataset)
        ids = getattr(dataset, "IDS", ())
        trained = label_folders(class_folders(folder), class_names(dataset), ids, str(folder))
        wrong, _ = compare_labels(trained, str(folder), labels, dataset.img_prefix)
        findings.problems += wrong
    return findings

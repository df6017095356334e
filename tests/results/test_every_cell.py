"""Every cell of every table: its real recipe fills it and no other cell, without a footnote.

For each cell the config of its recipe is resolved with the overrides, and a record is made with the
facts that a full run of it would have. Then each fact is changed in turn.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from mmengine.registry import MODELS

from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.config.load import load_config
from mae_bench.evaluation.frozen import FrozenLoop
from mae_bench.models import SIZES, VisionTransformer
from mae_bench.results.claim import config_differences, recipe_of
from mae_bench.results.measured import measure
from mae_bench.results.record import Record
from mae_bench.results.shipped import shipped_tables
from mae_bench.results.table import PRETRAIN, Cell

ROOT = Path(__file__).parents[2]
TABLES = list(shipped_tables().values())
CELLS = [cell for table in TABLES for cell in table.cells.values() if cell.task is not None]
SOME = 7  # images of a set whose size was not published


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@cache
def resolved(config: str, overrides: tuple):
    return load_config(config, dict(overrides))


def recipe(config: str, overrides) -> object:
    return resolved(
        config, tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in overrides.items())
    )


def model_of(cfg) -> dict:
    """What a run would record of its model, from the config alone."""
    backbone = cfg.model.backbone
    size = SIZES[backbone.arch]
    head = cfg.model.get("head") or cfg.model.get("decode_head") or {}
    if "roi_head" in cfg.model:
        head = cfg.model.roi_head.bbox_head
        head = head[0] if isinstance(head, list) else head
    return {
        "backbone": "VisionTransformer",
        "embed_dim": size["embed_dim"],
        "num_layers": size["depth"],
        "patch_size": backbone.patch_size,
        "img_size": backbone.img_size,
        "classes": head.get("num_classes"),
    }


BASE = Record(
    task="t",
    initialisation="s",
    metrics={},
    config_file="c.py",
    config_sha256="ab" * 32,
    overrides={},
    seed=0,
    checkpoint=None,
    run_card={},
    data_counts={},
    versions={},
    git_revision=None,
    device="cpu",
    started="2024-01-01T10:00:00+00:00",
    finished="2024-01-01T10:01:00+00:00",
    duration_seconds=3600.0,
    peak_memory_mib=None,
)


def trained(config: str, overrides, facts, sha256: str) -> Record:
    """A finished training run by a recipe."""
    cfg = recipe(config, overrides)
    train = facts.train[0] if facts.train else SOME
    batch = cfg.total_batch_size
    length = cfg.train_cfg.get("max_iters") or cfg.train_cfg.max_epochs * train / batch
    return replace(
        BASE,
        config_file=config,
        overrides=dict(overrides),
        run_card={"iterations": length, "effective_batch": batch, "parameters": 1e6},
        data_counts={"train": train, "val": facts.evaluated[0] if facts.evaluated else SOME},
        model=model_of(cfg),
        exported={"file": "checkpoint.safetensors", "sha256": sha256},
    )


def runs_of(cell: Cell, label: str = "") -> dict[str, Record]:
    """The runs of a cell: what made its start, what trained, what tested; the last claims it."""
    table = shipped_tables()[cell.table]
    start = table.starts[cell.start]
    name = f"{cell.row}{label}"
    found: dict[str, Record] = {}
    origin = None
    if start.pretrain or start.checkpoint:
        metadata = {"method": start.method, "data": start.data, "epochs": start.epochs}
        origin = {
            "file": "x",
            "sha256": f"start {name}",
            "report": None,
            "metadata": metadata,
        }
    if start.pretrain:
        facts = cell.facts if cell.task == PRETRAIN else replace(cell.facts, evaluated=())
        overrides = start.overrides
        found["pretrain"] = trained(start.pretrain, overrides, facts, f"start {name}")
    if cell.task != PRETRAIN:
        task = table.tasks[cell.task]
        overrides = {**task.overrides, **cell.overrides}
        if task.test is None:
            run = trained(task.config, overrides, cell.facts, f"run {name}")
            found["train"] = replace(run, checkpoint=origin)
        else:
            if task.test != "start":
                before = table.tasks[task.test]
                run = trained(before.config, before.overrides, cell.facts, f"run {name}")
                found["train"] = replace(run, checkpoint=origin)
                origin = {**(origin or {"file": "x", "report": None}), "sha256": f"run {name}"}
            group = cell.metric.partition("/")[0]
            count = cell.facts.evaluated[0] if cell.facts.evaluated else SOME
            key = group if group.startswith("imagenet_") else "test"
            cfg = recipe(task.config, overrides)
            counts, model = {key: count}, model_of(cfg)
            if cfg.test_cfg.type is FrozenLoop:  # learns from the training set, without a head
                counts["frozen_train"] = cell.facts.train[0]
                model["classes"] = cell.facts.classes
            found["test"] = replace(BASE, checkpoint=origin, data_counts=counts, model=model)
    last = list(found)[-1]
    device = cell.facts.device or "cpu"
    claim = {"table": cell.table, "row": cell.row, "column": cell.column}
    metrics = {} if cell.metric in ("duration_seconds", "parameters") else {cell.metric: 50.0}
    card = found[last].run_card
    if cell.metric == "forward_gflops_per_image":
        metrics, card = {}, {**card, cell.metric: 50.0}
    found[last] = replace(found[last], metrics=metrics, run_card=card, cells=[claim], device=device)
    return {f"{kind} {name}": record for kind, record in found.items()}


def all_runs(cell: Cell) -> dict[str, Record]:
    """The runs of a cell and, of a ratio, of the cell that it is relative to."""
    found = runs_of(cell)
    if cell.relative_to not in (None, cell.row):
        other = shipped_tables()[cell.table].cells[cell.relative_to, cell.column]
        found = {**runs_of(other), **found}
    return found


def notes_of(cell: Cell, records: dict[str, Record]) -> list[str] | None:
    """Footnotes of a cell; None where no cell is filled."""
    tables, _ = measure(TABLES, records)
    filled = {
        (table.table.name, *place): measured
        for table in tables
        for place, measured in table.cells.items()
        if measured.cell.minus is None
    }
    expected = {cell.place}
    if cell.relative_to is not None:
        expected.add((cell.table, cell.relative_to, cell.column))
    if cell.place not in filled:
        return None
    assert set(filled) == expected
    return [note for note in filled[cell.place].notes if note != "1 seed"]


def ids(cell: Cell) -> str:
    return "-".join(cell.place)


@pytest.mark.parametrize("cell", CELLS, ids=ids)
def test_a_full_run_fills_its_cell_and_no_other_without_a_footnote(cell):
    assert notes_of(cell, all_runs(cell)) == list(cell.differs)


@pytest.mark.parametrize("cell", CELLS, ids=ids)
def test_the_recipe_itself_departs_in_nothing(cell):
    cfg = recipe_of(shipped_tables()[cell.table], cell)
    assert config_differences(cfg, cfg) == []


STARTS = [("beit", False), ("beit", True), *((m, False) for m in ("mae", "moco_v3", "dino"))]


@pytest.mark.parametrize(
    ("method", "dense"),
    [STARTS[0], *(pytest.param(*s, marks=pytest.mark.slow) for s in STARTS[1:])],
)
def test_every_start_fits_the_backbone_of_its_recipe(method, dense):
    """BEiT's have relative positions and layer scale, which a plain model has no place for."""
    own = dict(rel_pos_bias="shared", layer_scale_init=0.1) if method == "beit" else {}
    backbones = {}
    for cell in CELLS:
        table = shipped_tables()[cell.table]
        start, task = table.starts[cell.start], table.tasks.get(cell.task)
        if start.method == method and start.checkpoint and task and task.test is None:
            cfg = recipe(task.config, {**task.overrides, **cell.overrides})
            if dense == (cfg.model.backbone.output == "maps"):
                backbones.setdefault(repr(cfg.model.backbone), (cell.place, cfg.model.backbone))
    assert backbones
    for place, backbone in backbones.values():
        size = dict(embed_dim=16, depth=SIZES[backbone.arch]["depth"], num_heads=2)
        file = VisionTransformer(size, 224, backbone.patch_size, output="tokens", **own)
        report = load_backbone(MODELS.build(dict(backbone, arch=size)), file.state_dict())
        assert "rel_pos" not in str(report.dropped) and not report.folded, place


def changed(cell: Cell, kind: str, **fields) -> dict[str, Record]:
    """The runs of a cell with fields of one of them replaced."""
    records = all_runs(cell)
    name = next(name for name in records if name == f"{kind} {cell.row}")
    return {**records, name: replace(records[name], **fields)}


def changes(cell: Cell):
    """(what, runs with one fact changed, whether it is too different) for each fact of a cell."""
    records, facts = runs_of(cell), cell.facts
    start = shipped_tables()[cell.table].starts[cell.start]
    last = list(records)[-1].partition(" ")[0]
    kind = "pretrain" if cell.task == PRETRAIN else "train"
    run = records.get(f"{kind} {cell.row}")
    final = records[f"{last} {cell.row}"]
    if run is not None:
        card = run.run_card
        if facts.epochs:
            longer = {**card, "iterations": card["iterations"] * 1.5}
            yield "epochs", changed(cell, kind, run_card=longer), False
        if facts.batch:
            larger = {
                **card,
                "effective_batch": card["effective_batch"] * 2,
                "iterations": card["iterations"] / 2,
            }
            yield "batch", changed(cell, kind, run_card=larger), False
    learned, name = (run, "train") if run is not None else (final, "frozen_train")
    if facts.train and name in learned.data_counts:
        count = learned.data_counts[name]
        of = kind if run is not None else last
        for share, excluded in ((0.995, False), (0.5, True)):
            counts = {**learned.data_counts, name: int(count * share)}
            yield f"train x {share}", changed(cell, of, data_counts=counts), excluded
    if facts.evaluated:
        own = {k: v for k, v in final.data_counts.items() if not k.endswith("train")}
        (key,) = own
        for share, excluded in ((0.997, False), (0.5, True)):
            counts = {**final.data_counts, key: int(own[key] * share)}
            yield f"evaluated x {share}", changed(cell, last, data_counts=counts), excluded
    if facts.model:
        model = {**final.model, "num_layers": final.model["num_layers"] + 1}
        yield "model", changed(cell, last, model=model), True
    if facts.classes:
        model = {**final.model, "classes": facts.classes + 1}
        yield "classes", changed(cell, last, model=model), True
    if facts.image_size:
        model = {**final.model, "img_size": facts.image_size + 1}
        yield "image size", changed(cell, last, model=model), True
    if facts.device:
        yield "device", changed(cell, last, device="another"), False
    if cell.task != PRETRAIN:
        kind = "train" if run is not None else last
        started = records[f"{kind} {cell.row}"]
        if started.checkpoint is None:
            yield "start", changed(cell, kind, checkpoint=ELSEWHERE), True
        else:
            yield "random", changed(cell, kind, checkpoint=None), True
            for key in ("method", "data", "epochs"):
                if getattr(start, key) is not None:
                    metadata = {**started.checkpoint["metadata"], key: f"another {key}"}
                    if key == "epochs":
                        metadata[key] = 3
                    other = {**started.checkpoint, "metadata": metadata}
                    excluded = key != "epochs"
                    yield f"start's {key}", changed(cell, kind, checkpoint=other), excluded


ELSEWHERE = {"file": "y", "sha256": "ef" * 32, "report": None, "metadata": None}


@pytest.mark.parametrize("cell", CELLS, ids=ids)
def test_each_fact_that_is_changed_shows(cell):
    seen = 0
    for what, records, excluded in changes(cell):
        notes = notes_of(cell, records)
        if excluded:
            assert notes is None, (what, notes)
        else:
            assert notes is not None and set(notes) - set(cell.differs), what
        seen += 1
    assert seen >= 3

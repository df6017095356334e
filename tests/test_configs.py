"""Every config resolves, builds, and refuses a slip."""

import ast
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope

from mae_bench.config.load import load_config
from mae_bench.results.shipped import shipped_tables

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for task in ("pretrain", "cls", "det", "seg")
    for path in (ROOT / "configs" / task).glob("*.py")
)
TREES = {path: ast.parse(path.read_text()) for path in FILES}
EPOCH_LENGTH = 10

every_config = pytest.mark.parametrize(
    "path", FILES, ids=[str(path.relative_to(ROOT / "configs")) for path in FILES]
)


def parents(path: Path) -> list[Path]:
    """Files that a config inherits from, itself first; each ``read_base`` reads whole files."""
    found = [path]
    for block in ast.parse(path.read_text()).body:
        if not isinstance(block, ast.With):
            continue
        for line in block.body:
            assert isinstance(line, ast.ImportFrom) and line.module, path
            folder = path.parent
            for _ in range(line.level - 1):
                folder = folder.parent
            found += parents(folder.joinpath(*line.module.split(".")).with_suffix(".py"))
    return found


def build_without_memory(cfg: Config) -> torch.nn.Module:
    """The model of a config at its full size, with tensors that have shapes but no values."""
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        return MODELS.build(cfg.model)


def test_there_are_configs_of_every_task():
    assert {path.parent.name for path in FILES} == {"pretrain", "cls", "det", "seg"}


@every_config
def test_no_published_number_is_copied_into_a_config(path):
    """They stand in the tables alone. Those below 20 may be settings."""
    published = {
        f"{cell.published:.1f}"
        for table in shipped_tables().values()
        for cell in table.cells.values()
        if cell.published is not None and cell.published >= 20
    }
    assert len(published) > 100
    text = path.read_text(encoding="utf-8")
    assert published & set(re.findall(r"(?<![\w.])\d\d\.\d(?!\d)", text)) <= {"32.0"}  # a rate


@every_config
def test_file_can_be_read_by_a_person(path):
    tree = TREES[path]
    docstring = ast.get_docstring(tree) or ""
    assert f"configs/{path.parent.name}/{path.name}" in docstring, "the command is missing"
    assert "eproduces" in docstring, "what it reproduces is missing"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, functions)]


@every_config
def test_at_most_two_parents_and_the_runtime(path):
    """Three recipes: ViTDet's larger models are of its ViT-B, which is of Mask R-CNN on COCO."""
    recipes = [parent for parent in parents(path) if parent.name != "default_runtime.py"]
    assert len(recipes) <= 3


@every_config
def test_resolves_and_builds(path):
    cfg = load_config(path)
    model = build_without_memory(cfg)
    assert any(parameter.requires_grad for parameter in model.parameters())

    if cfg.get("optim_wrapper") is None:
        return
    # Fused updates need a real device.
    cfg.optim_wrapper.optimizer.pop("fused", None)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    grouped = [p for group in wrapper.optimizer.param_groups for p in group["params"]]
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert len(grouped) == len(trainable)
    assert {id(p) for p in grouped} == {id(p) for p in trainable}
    peak = max(group["lr"] for group in wrapper.optimizer.param_groups)
    assert peak == cfg.optim_wrapper.optimizer.lr

    # Runs are counted in epochs or in iterations.
    length = cfg.train_cfg.get("max_epochs") or cfg.train_cfg.max_iters
    for scheduler in cfg.param_scheduler:
        defaults = dict(optimizer=wrapper, epoch_length=EPOCH_LENGTH, end=length)
        built = PARAM_SCHEDULERS.build(scheduler, default_args=defaults)
        assert not built.by_epoch, "the rate has to change at every iteration"


@every_config
@pytest.mark.parametrize("key", ["model.backbone.drop_path_rat", "train_dataloder", "epoch"])
def test_misspelt_override_is_refused(path, key):
    with pytest.raises(ValueError, match=key):
        load_config(path, {key: 1})


@every_config
def test_learning_rate_is_written_with_its_batch(path):
    cfg = load_config(path)
    if cfg.get("optim_wrapper") is not None:
        assert cfg.auto_scale_lr.enable
        assert f"batch of {cfg.auto_scale_lr.base_batch_size}" in "".join(
            file.read_text() for file in parents(path)
        )


@every_config
def test_forward(path):
    cfg = load_config(path)
    if "backbone" not in cfg.model:
        pytest.skip("a model of another library, chosen on the command line")
    model = build_without_memory(cfg).eval()
    size = cfg.model.backbone.get("img_size", 224)
    with torch.device("meta"), torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, size, size))
        assert isinstance(features, tuple)
        if path.parent.name == "cls" and "head" in cfg.model:
            scores = model(torch.zeros(2, 3, size, size), mode="tensor")
            assert scores.shape == (2, cfg.model.head.num_classes)

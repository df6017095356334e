"""Loggers switched on by name, of one run and for a suite."""

import pytest
from mmengine.registry import VISBACKENDS

from mae_bench.config import loggers
from mae_bench.config.load import load_config
from mae_bench.config.loggers import LOGGERS, use_loggers

from ..recipes import CONFIGS

CONFIG = CONFIGS / "cls/vit_mini_finetune_miniworld.py"


def names(cfg) -> list[str]:
    kinds = [backend["type"] for backend in cfg.visualizer.vis_backends]
    return [getattr(kind, "__name__", kind) for kind in kinds]


def test_each_is_one_more_backend_once(monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: name)
    cfg = load_config(CONFIG, {"visualizer.vis_backends.1.type": "WandbVisBackend"})
    use_loggers(cfg, ["tensorboard", "wandb", "mlflow", "tensorboard"])
    assert names(cfg) == ["LocalVisBackend", "WandbVisBackend", "TensorboardVisBackend"] + [
        "MLflowVisBackend"
    ]
    assert all(VISBACKENDS.get(kind) for kind in LOGGERS.values())


def test_what_cannot_be_is_said_before_training(monkeypatch):
    cfg = load_config(CONFIG)
    with pytest.raises(ValueError, match="--logger tensorbord: there are tensorboard, wandb, mlf"):
        use_loggers(cfg, ["tensorbord"])
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--logger wandb: .* pip install wandb"):
        use_loggers(cfg, ["wandb"])
    monkeypatch.undo()
    without = load_config(CONFIG, {"visualizer": None})
    with pytest.raises(ValueError, match="needs the visualizer"):
        use_loggers(without, ["tensorboard"])
    use_loggers(without, [])

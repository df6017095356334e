"""Configs by the names they once had: configs/old_names.yaml says what each is today."""

from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from mae_bench.config.load import load_config

CONFIGS = Path(__file__).parents[1] / "configs"
OLD_NAMES = yaml.safe_load((CONFIGS / "old_names.yaml").read_text(encoding="utf-8"))


def load_recipe(name: str, overrides: dict[str, Any] | None = None) -> Config:
    """Load ``"cls/vit_base_linear_in1k"`` or, by its old name, ``"cls/vit_huge_linear_in1k"``."""
    entry = OLD_NAMES.get(f"{name}.py", {"config": f"{name}.py"})
    options = {**entry.get("overrides", {}), **(overrides or {})}
    return load_config(CONFIGS / entry["config"], options)

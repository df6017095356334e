"""docs/configs.md: each option that it shows is taken, or refused where it says so."""

import re
import shlex
from pathlib import Path

import pytest

from mae_bench.config.arguments import RUNNER_KEYS
from mae_bench.config.load import load_config
from mae_bench.config.overrides import read_options

from ..recipes import CONFIGS

PAGE = (Path(__file__).parents[2] / "docs/configs.md").read_text(encoding="utf-8")
SPANS = {
    span for span in re.findall(r"`([^`]+)`", PAGE) if "..." not in span and "NAME" not in span
}
OPTIONS = sorted(
    span for span in SPANS if re.match(rf"({'|'.join(RUNNER_KEYS)}|epochs)[.\w]*=", span)
)


@pytest.mark.parametrize("option", OPTIONS)
def test_option_of_the_page(option):
    overrides = read_options(shlex.split(option))
    path = CONFIGS / "cls/vit_base_finetune_in1k.py"
    if option.startswith("epochs"):
        with pytest.raises(ValueError, match=r"set train_cfg\.max_epochs"):
            load_config(path, overrides)
    elif "num_classes" in option:
        with pytest.raises(ValueError, match="give the list of classes"):  # of ImageNet
            load_config(path, overrides)
    else:
        load_config(path, overrides)


def test_options_were_found():
    assert len(OPTIONS) > 10

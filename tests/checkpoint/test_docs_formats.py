"""The table of formats in the docs says what the adapters do."""

import re
from pathlib import Path

import pytest
import torch

from mae_bench.checkpoint.adapters import ADAPTERS

from .test_adapters_files import backbone_tensors, is_beits

PAGE = Path(__file__).parents[2] / "docs/checkpoint_format.md"
# Words of the table for parts of our checkpoints.
PARTS = {
    "decoder": ["decoder.mask_token"],
    "head": ["head.fc.weight", "head.fc.bias"],
    "class token": ["cls_token"],
    "norm": ["norm.weight", "norm.bias"],
}


def rows() -> dict[str, str]:
    """Last column of the table for each format."""
    section = PAGE.read_text().split("| format | name |")[1].split("\n\n")[0]
    lost = {}
    for line in section.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`(\w+)`", cells[1]):
            lost[name] = cells[4]
    return lost


def test_every_format_has_its_row():
    assert set(rows()) == set(ADAPTERS)


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_writing_loses(name):
    beits = is_beits(name)
    options = dict(rel_pos_bias="per_block") if beits else dict(class_token="ijepa" not in name)
    tensors = backbone_tensors(**options)
    if beits:
        tensors["pos_embed"].zero_()
        for key in tensors:
            if key.endswith("qkv.bias"):
                tensors[key][16:32] = 0
    for part in ("decoder", "head"):
        tensors |= {key: torch.ones(5, 16) for key in PARTS[part]}
    dropped = set(ADAPTERS[name].from_ours(tensors, 2).dropped)
    words = rows()[name]
    if words.startswith("as "):
        words = rows()[re.findall(r"`(\w+)`", words)[0]]
    words = words.partition("writing: ")[2]
    said = {part for part in PARTS if re.search(rf"\b{part}\b", words)}
    assert {key for part in said for key in PARTS[part]} == dropped

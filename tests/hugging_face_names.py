"""Names that a model of transformers 5 has in memory, and those of transformers 4."""

import json
import re
from pathlib import Path
from typing import Any

import transformers

# class -> "saved" and "live" -> name in transformers 5: name in transformers 4
NAMES = json.loads((Path(__file__).parent / "assets/transformers_5_names.json").read_text())


def rename(tensors: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Tensors under the new ones of `names`, whose stars stand for the number of a block."""

    def new_name(name: str) -> str:
        kind = re.sub(r"\.\d+\.", ".*.", name)
        if kind not in names:
            return name
        block = re.search(r"\.(\d+)\.", name)
        return names[kind].replace("*", block[1]) if block else names[kind]

    return {new_name(name): tensor for name, tensor in tensors.items()}


def names_of_4(tensors: dict[str, Any], kind: type) -> dict[str, Any]:
    """Tensors, or gradients, of a model in memory under the names of transformers 4."""
    if transformers.__version__ < "5":
        return tensors
    return rename(tensors, NAMES["names"][kind.__name__]["live"])

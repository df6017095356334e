"""Configs of real size made small enough to train two steps in a test.

One rule for all: numbers by their value, the rest by its key.
"""

from typing import Any

SIDE, PATCH, WIDTH = 32, 4, 16

# Reduced size, whatever key it stands under: sides of pictures, windows and steps of a sliding
# window, iterations.
SMALLER = {224: SIDE, 256: SIDE + 4, 448: SIDE, 512: SIDE, 518: SIDE, 1024: SIDE}
SMALLER |= {2048: 2 * SIDE, 2072: 2 * SIDE, 341: 21, 345: 21, 640: 40, 768: 48, 896: 56}
SMALLER |= {160000: 4, 126312: 4, 40000: 4, 16000: 2, 4000: 2, 1500: 2}
SMALLER_KEYS: dict[str, Any] = {
    "arch": dict(embed_dim=WIDTH, depth=2, num_heads=2),
    "patch_size": PATCH,
    "embed_dim": WIDTH,
    "in_channels": WIDTH,
    "num_heads": 2,
    "coefficients": 5,
    "images": 4,
    "queries": 4,
    "hidden": 4,
    "batch_size": 2,
    "num_workers": 0,
    "persistent_workers": False,
    "checkpoint": "dvae.safetensors",
    "channels": WIDTH,
    "out_channels": WIDTH,
    "feat_channels": WIDTH,
    "conv_out_channels": WIDTH,
    "fc_out_channels": 2 * WIDTH,
    "num_groups": 4,
    "window_size": 3,
    "global_blocks": (1,),
    "strides": [1, 2, 4, 8, 16],
    "featmap_strides": [1, 2, 4, 8, 16],
}


def shrink(node: Any) -> Any:
    """A config, or a part of it, with the sizes above, changed in place where it is a container.

    What needs no change is not written: a config keeps its imports as text until they are used.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            if key in SMALLER_KEYS and not (isinstance(value, dict) and "type" in value):
                small = SMALLER_KEYS[key]
                if key == "in_channels" and isinstance(value, (list, tuple)):
                    small = [small] * len(value)
                elif key.endswith("strides"):
                    small = small[: len(value)]
                node[key] = small
            elif key == "out_indices":  # of two blocks
                node[key] = tuple(2 * i // len(value) for i in range(len(value) - 1)) + (1,)
            elif (reduced := shrink(value)) is not value:
                node[key] = reduced
    elif isinstance(node, list):
        for i, value in enumerate(node):
            if (reduced := shrink(value)) is not value:
                node[i] = reduced
    elif isinstance(node, tuple):
        reduced = tuple(map(shrink, node))
        return reduced if any(a is not b for a, b in zip(reduced, node, strict=True)) else node
    elif isinstance(node, int) and not isinstance(node, bool):
        return SMALLER.get(node, node)
    return node

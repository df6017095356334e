"""BEiT, official code and timm: pre-trained with one shared table, or fine-tuned with one a block.

Our backbone has no projection with a bias for queries and values only, and always absolute
positions: both are written as what it has, without changing the function. A bias for keys, which
it could learn, adds the same to all logits of a query, so it would change nothing either.
"""

from ..variants import SHARED_TABLE, TABLE
from .adapter import HEAD, Adapter, Tensors, same_names
from .tensors import (
    add_zero_positions,
    fuse_query_value_bias,
    remove_zero_positions,
    split_query_value_bias,
    table_heads,
    unit_layer_scale,
)


def import_beit(tensors: Tensors) -> Tensors:
    """BEiT's tensors under our names -> what our backbone has."""
    return add_zero_positions(fuse_query_value_bias(tensors))


def export_beit(tensors: Tensors, num_heads: int | None) -> Tensors:
    """Undo :func:`import_beit`; layer scale is one where there was none.

    Raises:
        ValueError: absolute positions or a bias of the keys that are not zero, or no tables.
    """
    return unit_layer_scale(split_query_value_bias(remove_zero_positions(tensors)))


ADAPTER = Adapter(
    name="beit",
    pairs=[
        *same_names(),
        ("blocks.*.ls1.gamma", "blocks.*.gamma_1"),
        ("blocks.*.ls2.gamma", "blocks.*.gamma_2"),
        ("blocks.*.attn.q_bias", "blocks.*.attn.q_bias"),
        ("blocks.*.attn.v_bias", "blocks.*.attn.v_bias"),
        (f"blocks.*.{TABLE}", "blocks.*.attn.relative_position_bias_table"),
        (SHARED_TABLE, SHARED_TABLE),
        HEAD,
    ],
    signs=["blocks.*.attn.q_bias", "blocks.*.norm1.weight"],
    ignored=["mask_token", "lm_head.*", "**relative_position_index"],
    after_import=import_beit,
    before_export=export_beit,
    heads=table_heads,
    likeness="BEiT",
    wrapper="model",
)

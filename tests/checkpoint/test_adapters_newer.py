"""DINOv2, I-JEPA, SimMIM, iBOT, distilled DeiT, EVA and timm's registers, against timm's models."""

import pytest
import torch
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer as TimmViT
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn

from mae_bench.checkpoint.adapters import ADAPTERS
from mae_bench.checkpoint.metadata import Unseen
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.models import MAE, VisionTransformer

from .test_adapters_forward import (
    BASE,
    DEPTH,
    DIM,
    HEADS,
    IMAGES,
    TIMM,
    check_way_back,
    close,
    noisy,
    ours_from,
    prefixed,
)

BARE = {**TIMM, "num_classes": 0}


def check(path, model: nn.Module, **options) -> None:
    """Our backbone from the file gives the model's tokens."""
    with torch.no_grad():
        close(ours_from(path, **options)(IMAGES)[0], model.eval().forward_features(IMAGES))


def metas_dinov2(registers: int) -> tuple[dict[str, torch.Tensor], TimmViT]:
    """A file as Meta publishes it, and timm's model with timm's own reading of that file."""
    state = noisy(TimmViT(**BARE, init_values=0.1)).state_dict()
    generator = torch.Generator().manual_seed(5)
    state["mask_token"] = torch.randn(1, DIM, generator=generator)
    if registers:
        state["register_tokens"] = torch.randn(1, registers, DIM, generator=generator)
    model = TimmViT(
        **BARE, init_values=0.1, reg_tokens=registers, no_embed_class=bool(registers)
    ).eval()
    model.load_state_dict(checkpoint_filter_fn(dict(state), model))
    return state, model


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2(tmp_path, registers):
    state, model = metas_dinov2(registers)
    path = tmp_path / "dinov2_vitb14_pretrain.pth"
    torch.save(state, path)
    check(path, model, register_tokens=registers)
    check(path, model, register_tokens=registers, layer_scale_init=1.0)
    read = read_checkpoint(path)
    assert (read.format, list(read.imported.dropped)) == ("dinov2", ["mask_token"])
    built = read.describe(Unseen(num_heads=HEADS)).architecture
    assert built.get("register_tokens", 0) == registers
    check(path, model, register_tokens=registers, layer_scale_init=built["layer_scale_init"])
    del state["mask_token"]
    torch.save(state, path)
    check_way_back(path, state, "dinov2")


def test_registers_are_never_dropped(tmp_path):
    path = tmp_path / "c.pth"
    torch.save(metas_dinov2(4)[0], path)
    with pytest.raises(ValueError, match=r"no place for reg_token; .*register_tokens=4"):
        ours_from(path)
    torch.save(metas_dinov2(0)[0], path)
    with pytest.raises(ValueError, match="no register tokens: set register_tokens=0"):
        ours_from(path, register_tokens=4)
    # Without layer scale and mask token too: whatever has registers under that name.
    plain = noisy(TimmViT(**BARE)).state_dict()
    torch.save(plain | {"register_tokens": torch.ones(1, 4, DIM)}, path)
    with pytest.raises(ValueError, match="no place for reg_token"):
        ours_from(path)


@pytest.mark.parametrize("registers", [0, 4])
def test_teacher_of_a_dinov2_training(tmp_path, registers):
    """Blocks lie in chunks, in which they keep their numbers."""
    state, model = metas_dinov2(registers)
    teacher = {
        (f"blocks.{int(n[7]) // 2}.{n[7:]}" if n.startswith("blocks.") else n): t
        for n, t in state.items()
    }
    assert {"blocks.0.1.norm1.bias", "blocks.1.2.norm1.bias"} <= set(teacher)
    heads = {"dino_head.mlp.0.weight": torch.ones(2), "ibot_head.mlp.0.weight": torch.ones(2)}
    path = tmp_path / "teacher_checkpoint.pth"
    torch.save({"teacher": prefixed(teacher, "backbone.") | heads}, path)
    check(path, model, register_tokens=registers)
    read = read_checkpoint(path)
    assert read.format == "dinov2_teacher"
    assert len(read.imported.dropped) == 3
    torch.save(teacher, path)
    check(path, model, register_tokens=registers)


def test_ibot(tmp_path):
    model = noisy(TimmViT(**BARE))
    state = model.state_dict()
    student = {n: t + 1 for n, t in state.items()} | {"masked_embed": torch.ones(1, DIM)}
    content = {
        "student": prefixed(student, "module.backbone.")
        | {"module.head.last_layer2.weight_g": torch.ones(2)},
        "teacher": prefixed(state, "backbone.") | {"head.last_layer2.weight_g": torch.ones(2)},
        "ibot_loss": {"center": torch.zeros(1, 1, 4), "center2": torch.zeros(1, 1, 4)},
        "epoch": 800,
    }
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    check(path, model)
    read = read_checkpoint(path, adapter=ADAPTERS["dino_student"])
    assert torch.equal(read.imported.tensors["cls_token"], student["cls_token"])
    backbone = VisionTransformer(**BASE)
    assert load_backbone(backbone, read_checkpoint(path, key="student")).share == 1.0
    assert torch.equal(backbone.cls_token, student["cls_token"])
    torch.save({"state_dict": state | {"masked_embed": torch.ones(1, DIM)}}, path)
    check(path, model)


def test_ijepa(tmp_path):
    """The target encoder; it has no class token."""
    model = noisy(TimmViT(**BARE, class_token=False, global_pool=""))
    state = model.state_dict()
    other = {n: t + 1 for n, t in state.items()}
    predictor = {"module.predictor_embed.weight": torch.ones(4, DIM)}
    predictor |= prefixed(other, "module.predictor_")
    content = {
        "encoder": prefixed(other, "module."),
        "predictor": predictor,
        "target_encoder": prefixed(state, "module."),
        "opt": {"state": {0: {"exp_avg": torch.ones(3)}}},
        "epoch": 300,
    }
    path = tmp_path / "IN1K-vit.h.14-300e.pth.tar"
    torch.save(content, path)
    assert read_checkpoint(path).format == "ijepa"
    check(path, model, class_token=False)
    with pytest.raises(ValueError, match="the file has no class token: set class_token=False"):
        ours_from(path)
    torch.save(state, path)
    check(path, model, class_token=False)


@pytest.mark.parametrize("shared", [True, False])
def test_simmim(tmp_path, shared):
    model = noisy(
        Beit(
            **BARE,
            use_abs_pos_emb=False,
            use_rel_pos_bias=not shared,
            use_shared_rel_pos_bias=shared,
            global_pool="token",
        )
    )
    extras = {"encoder.mask_token": torch.ones(1, 1, DIM), "decoder.0.weight": torch.ones(3, DIM)}
    path = tmp_path / "simmim_pretrain__vit_base.pth"
    torch.save({"model": prefixed(model.state_dict(), "encoder.") | extras}, path)
    read = read_checkpoint(path)
    assert read.format == "simmim" and set(read.imported.dropped) >= set(extras)
    check(path, model, rel_pos_bias="shared" if shared else "per_block")


def test_data2vec_and_eva_with_beits_names(tmp_path):
    """data2vec is BEiT's class; EVA's has absolute positions and no relative ones."""
    model = noisy(
        Beit(**BARE, init_values=0.1, use_abs_pos_emb=False, use_shared_rel_pos_bias=True)
    )
    extras = {"lm_head.weight": torch.ones(4, DIM), "mask_token": torch.ones(1, 1, DIM)}
    path = tmp_path / "checkpoint-799.pth"
    torch.save({"model": model.state_dict() | extras}, path)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(IMAGES), pre_logits=True)
        close(ours_from(path, output="mean", rel_pos_bias="shared")(IMAGES)[0], expected)
    model = noisy(Beit(**BARE, use_abs_pos_emb=True, global_pool="token"))
    torch.save({"module": model.state_dict() | extras}, path)
    check(path, model)
    tables = {"blocks.0.attn.rel_pos_bias.relative_position_bias_for_high": torch.ones(10, HEADS)}
    torch.save({"module": model.state_dict() | tables}, path)
    with pytest.raises(ValueError, match="relative positions by row and column"):
        ours_from(path)


@pytest.mark.parametrize("name", ["timm", "deit"])
def test_distilled_deit(tmp_path, name):
    """The distillation token is a register token that has a position."""
    model = noisy(VisionTransformerDistilled(**TIMM))
    path = tmp_path / "deit_base_distilled_patch16_224.pth"
    torch.save({"model": model.state_dict()}, path)
    check(path, model, register_tokens=1)
    read = read_checkpoint(path, adapter=ADAPTERS[name])
    assert set(read.imported.dropped) == {"head_dist.weight", "head_dist.bias"}
    check(path, model, register_tokens=1)
    with pytest.raises(ValueError, match="no place for reg_token"):
        ours_from(path)


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("embed", [True, False])
def test_registers_of_timm(tmp_path, class_token, embed):
    """timm gives positions to all tokens, or to the patches alone."""
    model = noisy(
        TimmViT(
            **BARE,
            class_token=class_token,
            reg_tokens=4,
            no_embed_class=not embed,
            global_pool="token" if class_token else "",
        )
    )
    path = tmp_path / "c.pth"
    torch.save(model.state_dict(), path)
    check(path, model, register_tokens=4, class_token=class_token)


def test_what_our_vit_cannot_be_is_said(tmp_path):
    state = noisy(TimmViT(**BARE)).state_dict()
    path = tmp_path / "c.pth"
    for name, words in {
        "rope_embed.periods": "rotary positions",
        "storage_tokens": "rotary positions",
        "blocks.0.mlp.w12.weight": "a gated MLP",
        "blocks.0.attn.q_norm.weight": "normed queries and keys",
    }.items():
        torch.save(state | {name: torch.ones(4)}, path)
        with pytest.raises(ValueError, match=rf"c\.pth: the model has {words}.*timm model may"):
            ours_from(path)
    wide = noisy(TimmViT(**BARE, mlp_ratio=2)).state_dict()
    torch.save(wide, path)
    with pytest.raises(ValueError, match="its MLP is 32 wide, that of our ViT 64: no place"):
        read_checkpoint(path).describe(Unseen(num_heads=HEADS, normalization="half"))


def test_registers_in_the_backbone():
    """Maps leave them out, the mean too, and layer decay counts them to the embeddings."""
    backbone = noisy(VisionTransformer(**{**BASE, "output": "mean"}, register_tokens=3))
    tokens = noisy(VisionTransformer(**BASE, register_tokens=3))
    assert tokens.num_prefix_tokens == 4 and tokens.layer_id("reg_token") == 0
    load_backbone(tokens, {**tokens.state_dict(), **backbone.state_dict()})
    options = dict(output="maps", out_indices=[DEPTH - 1], register_tokens=3)
    maps = noisy(VisionTransformer(**{**BASE, **options}))
    load_backbone(maps, backbone.state_dict())
    with torch.no_grad():
        last = maps(IMAGES)[0].flatten(2).mean(dim=2)
        close(backbone(IMAGES)[0], backbone.fc_norm(last))
        norm = tokens.norm(maps(IMAGES)[0].flatten(2).transpose(1, 2))
        close(tokens(IMAGES)[0][:, 4:], norm)
    with pytest.raises(ValueError, match="register_tokens have no place in windows"):
        VisionTransformer(**BASE, register_tokens=1, rel_pos_bias="shared")
    with pytest.raises(ValueError, match="a class token alone"):
        MAE(backbone=dict(type=VisionTransformer, **BASE, register_tokens=1))

"""Each adapter against the other library's own model on random weights.

The file is written as that library writes it, loaded as a task loads it (``--checkpoint``), and
must give that model's outputs; converting it back must give its state dict bit for bit.
"""

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones import BEiTViT
from mmpretrain.models.backbones import VisionTransformer as MMViT
from mmpretrain.models.necks import MAEPretrainDecoder
from mmpretrain.models.selfsup import MAEViT, MoCoV3ViT
from mmseg.models.backbones import MAE as SegMAE
from mmseg.models.backbones import BEiT as SegBEiT
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn
from transformers import ViTConfig, ViTForImageClassification, ViTMAEConfig, ViTMAEForPreTraining

from mae_bench.checkpoint.adapters import ADAPTERS
from mae_bench.checkpoint.adapters.writing import write_foreign_file
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.models import MAE, VisionTransformer
from mae_bench.models.masking import Masking

from ..hugging_face_names import names_of_4

DIM, DEPTH, HEADS = 16, 3, 2
BASE = dict(
    arch=dict(embed_dim=DIM, depth=DEPTH, num_heads=HEADS),
    img_size=32,
    patch_size=8,
    output="tokens",
)
DECODER = dict(embed_dim=24, depth=2, num_heads=4)
TIMM = dict(img_size=32, patch_size=8, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, num_classes=5)
MM_ARCH = dict(embed_dims=DIM, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=4 * DIM)
MM = dict(arch=MM_ARCH, img_size=32, patch_size=8, norm_cfg=dict(type="LN", eps=1e-6))
SEG = dict(
    img_size=32,
    patch_size=8,
    embed_dims=DIM,
    num_layers=DEPTH,
    num_heads=HEADS,
    out_indices=[0, DEPTH - 1],
    norm_cfg=dict(type="LN", eps=1e-6),
    init_values=0.1,
)
HF = dict(
    hidden_size=DIM,
    num_hidden_layers=DEPTH,
    num_attention_heads=HEADS,
    intermediate_size=4 * DIM,
    image_size=32,
    patch_size=8,
    layer_norm_eps=1e-6,
)
HF_DECODER = dict(
    decoder_hidden_size=24,
    decoder_num_hidden_layers=2,
    decoder_num_attention_heads=4,
    decoder_intermediate_size=96,
)
INDEX = "relative_position_index"
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def noisy(model: nn.Module) -> nn.Module:
    """Every parameter is noise, so that no two are equal by initialisation."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.eval()  # which returns nothing in OpenMMLab
    return model


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Relative error of the largest difference, at most 1e-5."""
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    print(f"relative error {error:.1e}")
    assert actual.shape == expected.shape and error <= 1e-5


def ours_from(path, **changes) -> VisionTransformer:
    """Our backbone, as a task builds it and fills it from the foreign file."""
    backbone = VisionTransformer(**{**BASE, **changes})
    load_backbone(backbone, path)
    return backbone.eval()


def check_way_back(path, state: dict[str, torch.Tensor], name: str) -> None:
    """Foreign -> ours -> a foreign file -> exactly the tensors we began with."""
    adapter = ADAPTERS[name]
    imported = read_checkpoint(path, adapter=adapter).imported
    exported = adapter.from_ours(imported.tensors, HEADS)
    assert exported.dropped == []
    again = path.with_name("again" + (".npz" if adapter.npz else ".pth"))
    write_foreign_file(again, exported.tensors, adapter)
    stored = read_checkpoint(again).stored
    assert set(stored) == set(state)
    for key, value in state.items():
        assert torch.equal(stored[key], value), key


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize("name", ["timm", "official_mae", "deit", "dino_backbone"])
def test_timm_and_those_with_its_names(tmp_path, name):
    """Official MAE, DeiT and DINO define their models on timm's class, so timm's is theirs."""
    model = noisy(TimmViT(**TIMM))
    if name == "dino_backbone":
        model.reset_classifier(0)
    path = tmp_path / "c.pth"
    torch.save(model.state_dict(), path)
    with torch.no_grad():
        close(ours_from(path)(IMAGES)[0], model.forward_features(IMAGES))
    check_way_back(path, model.state_dict(), name)


@pytest.mark.parametrize("name", ["timm", "official_mae"])
def test_mean_pooling_with_its_own_norm(tmp_path, name):
    model = noisy(TimmViT(**TIMM, global_pool="avg"))
    path = tmp_path / "c.pth"
    torch.save({"model": model.state_dict()}, path)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(IMAGES), pre_logits=True)
        close(ours_from(path, output="mean")(IMAGES)[0], expected)
    check_way_back(path, model.state_dict(), name)


def test_moco_v3(tmp_path):
    model = noisy(TimmViT(**{**TIMM, "num_classes": 0}))
    state = model.state_dict()
    rest = {
        "module.base_encoder.head.0.weight": torch.ones(4, DIM),
        "module.momentum_encoder.cls_token": torch.zeros(1, 1, DIM),
        "module.predictor.0.weight": torch.ones(4, 4),
    }
    path = tmp_path / "c.pth.tar"
    wanted = prefixed(state, "module.base_encoder.")
    torch.save({"epoch": 300, "arch": "vit_base", "state_dict": wanted | rest}, path)
    with torch.no_grad():
        close(ours_from(path)(IMAGES)[0], model.forward_features(IMAGES))
    assert set(read_checkpoint(path).imported.dropped) == set(rest)
    check_way_back(path, wanted, "moco_v3")


@pytest.mark.parametrize("name", ["dino", "dino_student"])
def test_dino_training_file(tmp_path, name):
    teacher, student = (noisy(TimmViT(**{**TIMM, "num_classes": 0})) for _ in range(2))
    with torch.no_grad():
        student.cls_token.add_(1)
    content = {
        "teacher": prefixed(teacher.state_dict(), "backbone.")
        | {"head.last_layer.weight_g": torch.ones(4, 1)},
        "student": prefixed(student.state_dict(), "module.backbone.")
        | {"module.head.last_layer.weight_g": torch.ones(4, 1)},
        "epoch": 3,
        "dino_loss": {"center": torch.zeros(1, 4)},
    }
    path = tmp_path / "c.pth"
    torch.save(content, path)
    model, prefix = {
        "dino": (teacher, "teacher.backbone."),
        "dino_student": (student, "student.module.backbone."),
    }[name]
    backbone = VisionTransformer(**BASE)
    load_backbone(backbone, read_checkpoint(path, adapter=ADAPTERS[name]).imported.tensors)
    with torch.no_grad():
        close(backbone.eval()(IMAGES)[0], model.forward_features(IMAGES))
        close(ours_from(path)(IMAGES)[0], teacher.forward_features(IMAGES))  # without being told
    check_way_back(path, prefixed(model.state_dict(), prefix), name)


def mae_inputs(noise: torch.Tensor, kept: int) -> Masking:
    order = noise.argsort(dim=1)
    return Masking(order[:, :kept], order[:, kept:])


def our_mae(path) -> MAE:
    """Our MAE, encoder and decoder from one file."""
    model = MAE(backbone=dict(type=VisionTransformer, **BASE), decoder=DECODER)
    tensors = read_checkpoint(path).imported.tensors
    state = {
        name if name.startswith("decoder.") else f"backbone.{name}": tensor
        for name, tensor in tensors.items()
    }
    model.load_state_dict(state, strict=True)
    return model.eval()


def check_predictions(path, masking: Masking, expected: torch.Tensor) -> None:
    """Our predictions against a foreign decoder's for all patches, (B, N, p * p * 3)."""
    with torch.no_grad():
        actual = our_mae(path).predict_masked(IMAGES, masking)[0]
    index = masking.masked.unsqueeze(-1).expand(-1, -1, expected.shape[-1])
    close(actual, expected.gather(1, index))


def test_hugging_face_mae_with_decoder_and_the_same_under_official_names(tmp_path):
    model = noisy(ViTMAEForPreTraining(ViTMAEConfig(**HF, **HF_DECODER)))
    model.save_pretrained(tmp_path, safe_serialization=True)
    path = tmp_path / "model.safetensors"
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model(IMAGES, noise=noise).logits
    masking = mae_inputs(noise, kept=4)
    check_predictions(path, masking, expected)
    state = {key: value.detach() for key, value in model.state_dict().items()}
    state = names_of_4(state, ViTMAEForPreTraining)
    check_way_back(path, state, "hf_vit_mae")

    official = official_names(state)
    path = tmp_path / "mae_full.pth"
    torch.save({"model": official}, path)
    check_predictions(path, masking, expected)
    check_way_back(path, official, "official_mae")


def official_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Hugging Face's tensors under the MAE authors' names, written out independently."""
    e, q = "vit.embeddings.", "attention.attention."
    official = {
        "cls_token": state[e + "cls_token"],
        "pos_embed": state[e + "position_embeddings"],
        "mask_token": state["decoder.mask_token"],
        "decoder_pos_embed": state["decoder.decoder_pos_embed"],
    }
    for kind in ("weight", "bias"):
        official[f"patch_embed.proj.{kind}"] = state[f"{e}patch_embeddings.projection.{kind}"]
        official[f"norm.{kind}"] = state[f"vit.layernorm.{kind}"]
        for part in ("embed", "norm", "pred"):
            official[f"decoder_{part}.{kind}"] = state[f"decoder.decoder_{part}.{kind}"]
        for ours, theirs, depth in (
            ("blocks", "vit.encoder.layer", DEPTH),
            ("decoder_blocks", "decoder.decoder_layers", 2),
        ):
            for i in range(depth):
                block, layer = f"{ours}.{i}.", f"{theirs}.{i}."
                parts = [state[f"{layer}{q}{n}.{kind}"] for n in ("query", "key", "value")]
                official[f"{block}attn.qkv.{kind}"] = torch.cat(parts)
                official[f"{block}attn.proj.{kind}"] = state[
                    f"{layer}attention.output.dense.{kind}"
                ]
                official[f"{block}norm1.{kind}"] = state[f"{layer}layernorm_before.{kind}"]
                official[f"{block}norm2.{kind}"] = state[f"{layer}layernorm_after.{kind}"]
                official[f"{block}mlp.fc1.{kind}"] = state[f"{layer}intermediate.dense.{kind}"]
                official[f"{block}mlp.fc2.{kind}"] = state[f"{layer}output.dense.{kind}"]
    return official


def test_hugging_face_vit(tmp_path):
    model = noisy(ViTForImageClassification(ViTConfig(**HF, num_labels=5)))
    model.save_pretrained(tmp_path, safe_serialization=True)
    path = tmp_path / "model.safetensors"
    with torch.no_grad():
        expected = model.vit(IMAGES).last_hidden_state
        close(ours_from(path)(IMAGES)[0], expected)
    state = names_of_4(model.state_dict(), ViTForImageClassification)
    check_way_back(path, state, "hf_vit")
    # The bare encoder, as ViTModel saves it, with a pooler that nobody trained.
    path = tmp_path / "bare.pth"
    bare = {k.removeprefix("vit."): v for k, v in state.items() if k.startswith("vit.")}
    torch.save(bare | {"pooler.dense.weight": torch.ones(DIM, DIM)}, path)
    with torch.no_grad():
        close(ours_from(path)(IMAGES)[0], expected)


def test_transformers_reads_what_we_write(tmp_path):
    path = tmp_path / "model.safetensors"
    backbone = noisy(VisionTransformer(**BASE))
    adapter = ADAPTERS["hf_vit"]
    write_foreign_file(path, adapter.from_ours(dict(backbone.state_dict())).tensors, adapter)
    ViTConfig(**HF).save_pretrained(tmp_path)
    model = ViTForImageClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        close(model.vit(IMAGES).last_hidden_state, backbone(IMAGES)[0])


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_mmpretrain_vit(tmp_path, prefix):
    model = noisy(MMViT(**MM, out_type="raw"))
    path = tmp_path / "c.pth"
    state = prefixed(model.state_dict(), prefix)
    torch.save({"meta": {"epoch": 3}, "state_dict": state}, path)
    with torch.no_grad():
        close(ours_from(path)(IMAGES)[0], model(IMAGES)[-1])
    check_way_back(path, prefixed(model.state_dict(), "backbone."), "mmpretrain_vit")


def test_mmpretrain_vit_of_mean_pooling(tmp_path):
    model = noisy(MMViT(**MM, out_type="avg_featmap", final_norm=False))
    path = tmp_path / "c.pth"
    state = prefixed(model.state_dict(), "backbone.")
    heads = {"head.fc.weight": torch.ones(5, DIM), "head.fc.bias": torch.ones(5)}
    torch.save({"state_dict": state | heads}, path)
    with torch.no_grad():
        close(ours_from(path, output="mean")(IMAGES)[0], model(IMAGES)[-1])
    check_way_back(path, state | heads, "mmpretrain_vit")


def test_mmpretrain_mae_with_decoder(tmp_path):
    backbone = noisy(MAEViT(**MM, mask_ratio=0.75))
    decoder = noisy(
        MAEPretrainDecoder(
            num_patches=16,
            patch_size=8,
            embed_dim=DIM,
            decoder_embed_dim=24,
            decoder_depth=2,
            decoder_num_heads=4,
            norm_cfg=dict(type="LN", eps=1e-6),
        )
    )
    state = prefixed(backbone.state_dict(), "backbone.") | prefixed(decoder.state_dict(), "neck.")
    path = tmp_path / "c.pth"
    torch.save({"state_dict": state}, path)
    with torch.no_grad():
        encoded, _, restore = backbone(IMAGES, mask=True)
        expected = decoder(encoded, restore)
    check_predictions(path, mae_inputs(restore, kept=4), expected)
    check_way_back(path, state, "mmpretrain_mae")


def test_mmpretrain_moco_v3(tmp_path):
    model = noisy(MoCoV3ViT(**MM, out_type="raw", stop_grad_conv1=True))
    state = prefixed(model.state_dict(), "backbone.")
    rest = {
        "neck.fc0.weight": torch.ones(4, DIM),
        "head.predictor.fc0.weight": torch.ones(4, 4),
        "momentum_encoder.module.0.cls_token": torch.ones(1, 1, DIM),
    }
    path = tmp_path / "c.pth"
    torch.save({"state_dict": state | rest}, path)
    with torch.no_grad():
        close(ours_from(path)(IMAGES)[0], model(IMAGES)[-1])
    check_way_back(path, state, "mmpretrain_moco_v3")


@pytest.mark.parametrize("name", ["mmseg_mae", "mmseg_beit"])
@pytest.mark.parametrize("layer_scale_init", [None, 1.0])
def test_mmseg(tmp_path, name, layer_scale_init):
    model = noisy(SegMAE(**SEG) if name == "mmseg_mae" else SegBEiT(**SEG, qv_bias=True))
    path = tmp_path / "c.pth"
    state = prefixed(model.state_dict(), "backbone.")
    head = {"decode_head.conv_seg.bias": torch.ones(3)}
    torch.save({"state_dict": state | head}, path)
    options = dict(
        output="maps",
        out_indices=[0, DEPTH - 1],
        rel_pos_bias="per_block",
        layer_scale_init=layer_scale_init,
    )
    with torch.no_grad():
        for actual, expected in zip(ours_from(path, **options)(IMAGES), model(IMAGES), strict=True):
            close(actual, expected)
    kept = {key: value for key, value in state.items() if INDEX not in key}
    check_way_back(path, kept | head, name)


def test_mmpretrain_beit(tmp_path):
    model = noisy(BEiTViT(**MM, out_type="avg_featmap", layer_scale_init_value=0.1))
    path = tmp_path / "c.pth"
    state = prefixed(model.state_dict(), "backbone.")
    torch.save({"state_dict": state}, path)
    for layer_scale_init in (None, 0.1):
        options = dict(output="mean", rel_pos_bias="per_block", layer_scale_init=layer_scale_init)
        with torch.no_grad():
            close(ours_from(path, **options)(IMAGES)[0], model(IMAGES)[-1])
    check_way_back(path, {k: v for k, v in state.items() if INDEX not in k}, "mmpretrain_beit")


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("scale", [None, 0.1])
def test_beit_of_timm(tmp_path, shared, scale):
    """BEiT's authors and timm share their names; ``shared`` is the table of pre-training."""
    model = noisy(
        Beit(
            **TIMM,
            init_values=scale,
            use_abs_pos_emb=False,
            use_rel_pos_bias=not shared,
            use_shared_rel_pos_bias=shared,
        )
    )
    state = model.state_dict()
    path = tmp_path / "c.pth"
    extras = {"lm_head.weight": torch.ones(4, DIM), "mask_token": torch.ones(1, 1, DIM)}
    torch.save({"model": state | extras}, path)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(IMAGES), pre_logits=True)
        close(ours_from(path, output="mean", rel_pos_bias="per_block")(IMAGES)[0], expected)
        if scale:  # and with the scale as it is
            options = dict(output="mean", rel_pos_bias="per_block", layer_scale_init=scale)
            close(ours_from(path, **options)(IMAGES)[0], expected)


@pytest.mark.parametrize("shared", [True, False])
def test_beit_and_back(tmp_path, shared):
    model = noisy(
        Beit(
            **TIMM,
            init_values=0.1,
            use_rel_pos_bias=not shared,
            use_shared_rel_pos_bias=shared,
            use_abs_pos_emb=False,
        )
    )
    path = tmp_path / "c.pth"
    torch.save({"model": model.state_dict()}, path)
    check_way_back(path, model.state_dict(), "beit")


def test_a_shared_table_goes_to_mmsegmentation_as_one_for_each_block(tmp_path):
    """It fails over a shared one; what it reads is checked in its own model."""
    model = noisy(
        Beit(**TIMM, init_values=0.1, use_shared_rel_pos_bias=True, use_abs_pos_emb=False)
    )
    path = tmp_path / "c.pth"
    torch.save({"model": model.state_dict()}, path)
    imported = read_checkpoint(path, adapter=ADAPTERS["beit"]).imported
    exported = ADAPTERS["mmseg_beit"].from_ours(imported.tensors, HEADS).tensors
    peer = SegBEiT(**{**SEG, "out_indices": [DEPTH - 1]}, qv_bias=True)
    state = {key.removeprefix("backbone."): value for key, value in exported.items()}
    missing, unexpected = peer.load_state_dict(state, strict=False)
    assert all(INDEX in key for key in missing)
    assert all(key.startswith(("ln", "head")) for key in unexpected)
    peer.eval()
    with torch.no_grad():
        expected = model.patch_embed(IMAGES)
        expected = torch.cat([model.cls_token.expand(2, -1, -1), expected], dim=1)
        for block in model.blocks:
            expected = block(expected, shared_rel_pos_bias=model.rel_pos_bias())
        expected = expected[:, 1:].transpose(1, 2).reshape(2, DIM, 4, 4)
        close(peer(IMAGES)[0], expected)


def test_layer_scale_of_timm_and_for_those_without(tmp_path):
    model = noisy(TimmViT(**TIMM, init_values=0.1))
    path = tmp_path / "c.pth"
    torch.save(model.state_dict(), path)
    with torch.no_grad():
        expected = model.forward_features(IMAGES)
        close(ours_from(path)(IMAGES)[0], expected)
        close(ours_from(path, layer_scale_init=0.1)(IMAGES)[0], expected)
    check_way_back(path, model.state_dict(), "timm")
    imported = read_checkpoint(path, adapter=ADAPTERS["timm"]).imported
    exported = ADAPTERS["hf_vit"].from_ours(imported.tensors, HEADS)
    assert exported.dropped == []
    torch.save(exported.tensors, path)
    with torch.no_grad():
        close(ours_from(path)(IMAGES)[0], expected)


def test_detectron2(tmp_path):
    """Not installed: its ViT without windows is timm's without class token and final norm."""
    model = noisy(
        TimmViT(**{**TIMM, "num_classes": 0}, class_token=False, global_pool="avg", fc_norm=True)
    )
    state = prefixed(model.state_dict(), "backbone.net.")
    state = {key: value for key, value in state.items() if "norm." not in key}
    # The table keeps the row of a class token that the model does not have.
    table = state["backbone.net.pos_embed"]
    state["backbone.net.pos_embed"] = torch.cat([torch.ones(1, 1, DIM), table], dim=1)
    path = tmp_path / "c.pth"
    rest = {"backbone.simfp_2.0.weight": torch.ones(2), "roi_heads.mask_head.bias": torch.ones(2)}
    torch.save({"model": state | rest}, path)
    options = dict(output="maps", out_indices=[DEPTH - 1], class_token=False)
    with torch.no_grad():
        expected = model.forward_features(IMAGES).transpose(1, 2).reshape(2, DIM, 4, 4)
        close(ours_from(path, **options)(IMAGES)[0], expected)
    check_way_back(path, state, "detectron2_vitdet")

    # A constant adds the same to all logits of a query, so the outputs stay: the tables may be
    # read as they are, and go back bit for bit.
    heads_width = DIM // HEADS
    for i in range(DEPTH):
        for axis, side in (("h", 4), ("w", 4)):
            constant = torch.full((2 * side - 1, heads_width), 0.3 + i)
            state[f"backbone.net.blocks.{i}.attn.rel_pos_{axis}"] = constant
    torch.save({"model": state | rest}, path)
    with torch.no_grad():
        backbone = ours_from(path, **options, rel_pos_bias="decomposed")
        close(backbone(IMAGES)[0], expected)
    assert torch.equal(
        backbone.blocks[1].attn.rel_pos_w, state["backbone.net.blocks.1.attn.rel_pos_w"]
    )
    check_way_back(path, state, "detectron2_vitdet")
    with pytest.raises(ValueError, match=r"attn\.rel_pos_h.*: rel_pos_bias='decomposed'"):
        ours_from(path, **options)


def test_detectron2_with_windows(tmp_path):
    """Windows show in the shorter tables; the metadata says how to build the model."""
    model = noisy(
        VisionTransformer(
            **{**BASE, "output": "maps"},
            out_indices=[DEPTH - 1],
            class_token=False,
            rel_pos_bias="decomposed",
            window_size=3,
            global_blocks=[1],
        )
    )
    state = prefixed(model.state_dict(), "backbone.net.")
    path = tmp_path / "c.pth"
    torch.save({"model": state}, path)
    check_way_back(path, state, "detectron2_vitdet")
    metadata = read_checkpoint(path).metadata
    assert metadata.architecture["arch"]["num_heads"] == HEADS
    built = VisionTransformer(**metadata.architecture, output="maps", out_indices=[DEPTH - 1])
    load_backbone(built, path)
    with torch.no_grad():
        assert torch.equal(built.eval()(IMAGES)[0], model(IMAGES)[0])


def test_jax(tmp_path):
    """timm's own reader of these files is the reference for names, axes and heads."""
    backbone = noisy(VisionTransformer(**BASE))
    ours = dict(backbone.state_dict())
    generator = torch.Generator().manual_seed(3)
    ours["head.fc.weight"] = torch.randn(5, DIM, generator=generator)
    ours["head.fc.bias"] = torch.randn(5, generator=generator)
    adapter = ADAPTERS["jax_vit"]
    path = tmp_path / "c.npz"
    write_foreign_file(path, adapter.from_ours(ours, HEADS).tensors, adapter)
    model = TimmViT(**TIMM).eval()
    model.load_pretrained(str(path))
    with torch.no_grad():
        features = model.forward_features(IMAGES)
        close(features, backbone(IMAGES)[0])
        close(ours_from(path)(IMAGES)[0], features)
        expected = features[:, 0] @ ours["head.fc.weight"].T + ours["head.fc.bias"]
        close(model.forward_head(features), expected)
    imported = read_checkpoint(path).imported
    assert imported.num_heads == HEADS
    assert set(imported.tensors) == set(ours)
    for key, value in ours.items():
        assert torch.equal(imported.tensors[key], value), key
    with np.load(path) as arrays:
        state = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    check_way_back(path, state, "jax_vit")
    # Flattening hides the order of heads and head width, so the shapes are checked too.
    head_width = DIM // HEADS
    attention = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/"
    assert state[attention + "query/kernel"].shape == (DIM, HEADS, head_width)
    assert state[attention + "query/bias"].shape == (HEADS, head_width)
    assert state[attention + "out/kernel"].shape == (HEADS, head_width, DIM)
    assert state["embedding/kernel"].shape == (8, 8, 3, DIM)

"""Files of Hugging Face's ViTs: both lines of transformers, and the configs that lie beside them.

Names of transformers 5 are checked with those that it gave itself, kept in
``assets/transformers_5_names.json`` as pairs of its name and that of transformers 4: for each class
of what ``save_pretrained`` and ``state_dict`` of 5.24 gave for a file of 4.57.
"""

import json

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from mae_bench.checkpoint.metadata import Unseen
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.models import VisionTransformer

from ..hugging_face_names import NAMES, rename
from .test_adapters_forward import BASE, HF, IMAGES, close, noisy

SHORT = {key: value for key, value in HF.items() if key != "intermediate_size"}
BEIT = dict(num_labels=5, layer_scale_init_value=0.1)
PER_BLOCK = dict(rel_pos_bias="per_block", layer_scale_init=0.1, output="mean")
SHARED = dict(rel_pos_bias="shared", layer_scale_init=0.1, output="tokens")
# class -> its config, and how our backbone is built
MODELS = {
    "ViTMAEModel": (HF, {}),
    "ViTForImageClassification": ({**HF, "num_labels": 5}, {}),
    "ViTModel": (HF, {}),
    "ViTMSNModel": (HF, {}),
    "DeiTForImageClassification": ({**HF, "num_labels": 5}, dict(register_tokens=1)),
    "DeiTForImageClassificationWithTeacher": ({**HF, "num_labels": 5}, dict(register_tokens=1)),
    "IJepaModel": (HF, dict(class_token=False)),
    "Dinov2Model": (SHORT, dict(layer_scale_init=1.0)),
    "Dinov2ForImageClassification": (SHORT, {}),
    "Dinov2WithRegistersModel": ({**SHORT, "num_register_tokens": 4}, dict(register_tokens=4)),
    "BeitForImageClassification": ({**HF, **BEIT, "use_relative_position_bias": True}, PER_BLOCK),
    "BeitForMaskedImageModeling": (
        {**HF, **BEIT, "use_mask_token": True, "use_shared_relative_position_bias": True},
        SHARED,
    ),
    "Data2VecVisionForImageClassification": (
        {**HF, **BEIT, "use_relative_position_bias": True},
        PER_BLOCK,
    ),
}


def build(name: str):
    """A model of transformers, every parameter noise."""
    kind = getattr(transformers, name)
    return noisy(kind(kind.config_class(**MODELS[name][0])))


def features(name: str, model) -> Tensor:
    """What the model's encoder gives: tokens after the last norm, or their mean after its own."""
    base = model.base_model
    if name == "ViTMAEModel":  # the patches come shuffled: in the order of the noise
        noise = torch.arange(16.0).expand(len(IMAGES), -1)
        base.config.mask_ratio = 0.0
        return base(IMAGES, noise=noise).last_hidden_state
    output = base(IMAGES)
    if MODELS[name][1].get("output") == "mean":
        return output.pooler_output
    if name == "BeitForMaskedImageModeling":
        return model.layernorm(output.last_hidden_state)
    return output.last_hidden_state


@pytest.mark.parametrize("name", MODELS)
def test_same_features_from_the_folder_and_from_memory(tmp_path, name):
    model = build(name)
    model.save_pretrained(tmp_path / "saved")
    torch.save(model.state_dict(), tmp_path / "live.pth")
    with torch.no_grad():
        expected = features(name, model)
        for path in (tmp_path / "saved", tmp_path / "live.pth"):
            backbone = VisionTransformer(**{**BASE, **MODELS[name][1]})
            report = load_backbone(backbone, path)
            close(backbone.eval()(IMAGES)[0], expected)
            heads = ("head.", "vit.pooler", "mim_norm", "lm_head", "distillation_classifier")
            assert all(n.startswith(heads) or "mask_token" in n for n in report.dropped)


@pytest.mark.skipif(transformers.__version__ >= "5", reason="has the names of its own")
@pytest.mark.parametrize("name", ["ViTMAEForPreTraining", *MODELS])
def test_names_of_transformers_5(tmp_path, name):
    if name == "ViTMAEForPreTraining":
        kind = getattr(transformers, name)
        decoder = dict(decoder_hidden_size=24, decoder_num_hidden_layers=2)
        decoder |= dict(decoder_num_attention_heads=4, decoder_intermediate_size=96)
        model = noisy(kind(kind.config_class(**HF, **decoder)))
    else:
        model = build(name)
    state = model.state_dict()
    torch.save(state, tmp_path / "4.pth")
    expected = read_checkpoint(tmp_path / "4.pth")
    for kind in ("saved", "live"):
        names = NAMES["names"].get(name, {}).get(kind, {})
        if name == "BeitForMaskedImageModeling":
            # transformers 5.24 exchanges the norms of a class with both; this one has one
            names = {new: old for new, old in names.items() if "layernorm." not in new[:20]}
        renamed = {old: new for new, old in names.items()}
        save_file(
            {n: t.contiguous() for n, t in rename(state, renamed).items()}, tmp_path / "5.bin"
        )
        read = read_checkpoint(tmp_path / "5.bin")
        assert read.format == expected.format
        assert set(read.imported.tensors) == set(expected.imported.tensors)
        for key, tensor in expected.imported.tensors.items():
            assert torch.equal(read.imported.tensors[key], tensor), key


def test_the_config_beside_the_weights_is_read(tmp_path):
    """Heads, image size and input statistics; so nothing has to be asked for."""
    model = build("ViTForImageClassification")
    model.config.layer_norm_eps = 1e-12
    model.save_pretrained(tmp_path)
    processor = dict(image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.5, 0.5])
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    read = read_checkpoint(tmp_path)
    assert read.path == tmp_path / "model.safetensors"
    assert (read.num_heads, read.says_input) == (2, True)
    metadata = read.describe(Unseen())
    assert metadata.architecture["arch"]["num_heads"] == 2
    assert (metadata.mean, metadata.std) == ([127.5] * 3, [63.75, 127.5, 127.5])
    assert read.notes == ["config.json beside it has layer_norm_eps 1e-12, our ViT 1e-06"]
    # What is given counts more.
    given = read.describe(Unseen(num_heads=4, normalization="imagenet"))
    assert given.architecture["arch"]["num_heads"] == 4 and given.mean[0] == 123.675


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ("{", r"config\.json: unreadable as JSON"),
        ('{"model_type": "vit", "num_attention_heads": -2}', r"config\.json: --num-heads -2"),
        (
            '{"model_type": "vit", "num_attention_heads": 2, "hidden_act": "quick_gelu"}',
            r"hidden_act 'quick_gelu' is not the GELU of our ViT",
        ),
    ],
)
def test_configs_that_cannot_be_followed(tmp_path, config, match):
    build("ViTModel").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=match):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ['{"image_mean": 1}', "[]", '{"image_mean": [null]}', "3"])
def test_nonsense_beside_the_weights_says_nothing(tmp_path, content):
    build("ViTModel").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        content if content[0] == "{" else f'{{"image_mean": {content}}}'
    )
    assert read_checkpoint(tmp_path).statistics is None


def test_folders_without_one_file_of_weights(tmp_path):
    with pytest.raises(ValueError, match="is a folder; name the checkpoint file in it"):
        read_checkpoint(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ValueError, match="its weights are in several files: save them in one"):
        read_checkpoint(tmp_path)

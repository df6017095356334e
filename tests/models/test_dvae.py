"""DALL-E's tokenizer against mmpretrain's port, and the conversion of a pickle."""

import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmpretrain.models.selfsup import cae
from safetensors.torch import load_file, save_file

from mae_bench.models.dvae import VOCABULARY, DVAEEncoder, DVAETarget, read_published_encoder

ROOT = Path(__file__).parents[2]
HIDDEN = 8


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def peer():
    """A small encoder of mmpretrain's port, whose parameters are named as the published ones."""
    torch.manual_seed(0)
    model = cae.DALLEEncoder(n_hid=HIDDEN)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".b"):
                parameter.uniform_(-0.5, 0.5)
            else:
                parameter.mul_(3)  # else the residual paths, scaled by 1/64, hardly show
    return model


@pytest.fixture
def pickled(peer, tmp_path, monkeypatch) -> Path:
    """That encoder as a pickled model of package dall_e, which is gone when it is read."""
    modules = {name: ModuleType(name) for name in ("dall_e", "dall_e.encoder", "dall_e.utils")}
    classes = [
        (cae.DALLEEncoder, "dall_e.encoder", "Encoder"),
        (cae.EncoderBlock, "dall_e.encoder", "EncoderBlock"),
        (cae.Conv2d, "dall_e.utils", "Conv2d"),
    ]
    names = {original: (original.__module__, original.__qualname__) for original, *_ in classes}
    try:
        for original, module, name in classes:
            original.__module__, original.__qualname__ = module, name
            setattr(modules[module], name, original)
        with monkeypatch.context() as patch:
            for name, stand_in in modules.items():
                patch.setitem(sys.modules, name, stand_in)
            torch.save(peer, tmp_path / "encoder.pkl")
    finally:
        for original, (module, name) in names.items():
            original.__module__, original.__qualname__ = module, name
    assert "dall_e" not in sys.modules
    return tmp_path / "encoder.pkl"


def test_logits_agree_with_mmpretrains_port(peer, pickled):
    encoder = read_published_encoder(pickled)
    images = noise(2, 3, 16, 24)
    with torch.no_grad():
        expected, actual = peer(0.8 * images + 0.1), encoder(images)
    assert actual.shape == (2, VOCABULARY, 2, 3)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert "dall_e" not in sys.modules


def test_published_size():
    encoder = DVAEEncoder()
    shapes = {name: tuple(p.shape) for name, p in encoder.named_parameters()}
    assert shapes["blocks.input.weight"] == (256, 3, 7, 7)
    assert shapes["blocks.group_4.block_1.id_path.weight"] == (2048, 1024, 1, 1)
    assert shapes["blocks.group_4.block_2.res_path.conv_3.weight"] == (512, 512, 3, 3)
    assert shapes["blocks.output.conv.weight"] == (8192, 2048, 1, 1)
    assert "blocks.group_2.block_2.id_path.weight" not in shapes


@pytest.fixture
def target(tmp_path) -> DVAETarget:
    torch.manual_seed(0)
    path = tmp_path / "encoder.safetensors"
    save_file(DVAEEncoder(HIDDEN).state_dict(), path)
    target = DVAETarget(48, patch_size=4, checkpoint=str(path), hidden=HIDDEN)
    target.init_weights()
    for name, tensor in load_file(path).items():
        assert torch.equal(target.encoder.state_dict()[name], tensor)
    return target


def test_one_token_for_each_patch_in_row_major_order(target):
    images = noise(2, 3, 8, 12)
    tokens = target(images)
    assert tokens.shape == (2, 6)
    assert tokens.dtype == torch.int64
    resized = torch.nn.functional.interpolate(
        images, size=(16, 24), mode="bicubic", antialias=True
    ).clamp(0, 1)
    with torch.no_grad():
        logits = target.encoder(resized)  # (2, 8192, 2, 3)
    for row in range(2):
        for column in range(3):
            expected = logits[:, :, row, column].argmax(dim=1)
            assert torch.equal(tokens[:, 3 * row + column], expected)
    assert not any(p.requires_grad for p in target.parameters())


def test_loss_is_cross_entropy_over_the_vocabulary(target):
    logits = torch.zeros(2, 3, VOCABULARY)
    tokens = torch.tensor([[0, 1, 2], [3, 4, 5]])
    uniform = torch.log(torch.tensor(float(VOCABULARY)))
    assert target.loss(logits, tokens).item() == pytest.approx(uniform.item(), rel=1e-6)
    logits[0, 0, 0] = 50.0
    assert target.loss(logits, tokens).item() == pytest.approx(5 / 6 * uniform.item(), rel=1e-5)


def test_missing_and_wrong_files(tmp_path):
    target = DVAETarget(48, 4, str(tmp_path / "no.safetensors"), HIDDEN)
    with pytest.raises(FileNotFoundError, match=r"no.safetensors: no such file; write it with"):
        target.init_weights()
    save_file({"blocks.input.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    target.checkpoint = str(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors: not the tokenizer's weights"):
        target.init_weights()
    with pytest.raises(ValueError, match="predicts no pixels"):
        target.to_pixels(torch.zeros(1, 1, VOCABULARY), torch.zeros(1, 1, 48))


def convert(monkeypatch, capfd, *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["convert_dvae.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "tools/convert_dvae.py"), run_name="__main__")
    output = capfd.readouterr()
    return ended.value.code, output.out + output.err


def test_conversion_of_a_pickle_asks_for_trust(pickled, monkeypatch, capfd):
    out = pickled.with_name("encoder.safetensors")
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("the pickle was read"))
    code, output = convert(monkeypatch, capfd, pickled, out)
    assert code == 2
    assert "runs code" in output and "--trust" in output
    assert not out.exists()


def test_conversion_of_a_trusted_pickle(pickled, peer, monkeypatch, capfd):
    out = pickled.with_name("encoder.safetensors")
    code, output = convert(monkeypatch, capfd, pickled, out, "--trust")
    assert code == 0, output
    tensors = load_file(out)
    for name, parameter in peer.named_parameters():
        renamed = name[:-1] + {"w": "weight", "b": "bias"}[name[-1]]
        assert torch.equal(tensors.pop(renamed), parameter)
    assert not tensors


def test_pickle_of_something_else(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "encoder.pkl")
    with pytest.raises(ValueError, match=r"encoder.pkl: not DALL-E's published encoder"):
        read_published_encoder(tmp_path / "encoder.pkl")

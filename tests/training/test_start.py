"""Whatever way weights come in, one place reads them and says so."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import PretrainedInit
from torch import nn

from mae_bench.checkpoint.transfer import PretrainedBackbone
from mae_bench.files import sha256_of
from mae_bench.models import VisionTransformer
from mae_bench.training.start import find_start, find_tested

ARCH = dict(embed_dim=16, depth=2, num_heads=2)
BACKBONE = dict(arch=ARCH, img_size=16, patch_size=8, output="mean")


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = VisionTransformer(**BACKBONE)
        self.head = nn.Linear(16, 3)


@pytest.fixture
def source(tmp_path) -> tuple[Classifier, str]:
    """A model, and a file of it as MMEngine trains it."""
    model, path = Classifier(), tmp_path / "epoch_1.pth"
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    torch.save({"meta": {}, "state_dict": model.state_dict()}, path)
    return model, str(path)


def config(model=None, backbone=None, **values) -> Config:
    return Config(
        dict(
            model=dict(
                backbone=dict(type="VisionTransformer", init_cfg=backbone, **BACKBONE),
                neck=[dict(type="Neck")],
                init_cfg=model,
            ),
            **values,
        )
    )


def check(start, path: str, source: Classifier, head: bool) -> None:
    """The start loads the file and its record says so."""
    model = Classifier()
    start.load_into(model)
    assert torch.equal(model.backbone.cls_token, source.backbone.cls_token)
    assert torch.equal(model.head.weight, source.head.weight) is head
    record = start.as_record()
    assert (record["file"], record["sha256"]) == (path, sha256_of(path))
    assert record["metadata"]["format"] in ("openmmlab", "timm")  # with the prefix given
    assert record["metadata"]["method"] == "unknown"  # a file that says nothing of itself
    assert "cls_token" in record["report"]["loaded"] or head
    assert start.checkpoint is None  # the memory is free again


OURS = dict(type="mae_bench.PretrainedBackbone")
BY_CLASS = dict(type=PretrainedBackbone)
MMENGINE = dict(type="Pretrained", prefix="backbone.")
MMENGINE_BY_CLASS = dict(type=PretrainedInit, prefix="backbone")


@pytest.mark.parametrize("initialiser", [OURS, BY_CLASS, MMENGINE, MMENGINE_BY_CLASS])
@pytest.mark.parametrize("listed", [False, True])
def test_initialiser_of_the_backbone_is_the_start(source, initialiser, listed):
    model, path = source
    given = dict(initialiser, checkpoint=path)
    other = dict(type="TruncNormal", layer="Linear", std=0.02)
    cfg = config(backbone=[other, given] if listed else given)
    start = find_start(cfg)
    assert cfg.model.backbone.init_cfg == ([other] if listed else None)
    check(start, path, model, head=False)


@pytest.mark.parametrize("way", ["model", "load_from"])
def test_whole_model_is_the_start(source, way):
    model, path = source
    given = path if way == "load_from" else dict(type="Pretrained", checkpoint=path)
    cfg = config(**{way: given})
    start = find_start(cfg)
    assert cfg.get("load_from") is None and cfg.model.init_cfg is None
    check(start, path, model, head=True)


def test_state_to_go_on_from_is_no_start(source):
    _, path = source
    cfg = config(load_from=path, resume=True)
    assert find_start(cfg) is None and cfg.load_from == path


def test_command_line_takes_the_place_of_the_config(source):
    model, path = source
    cfg = config(backbone=dict(OURS, checkpoint="absent.safetensors"))
    check(find_start(cfg, path), path, model, head=False)


def test_nothing_to_start_from():
    cfg = config(model=dict(type="TruncNormal", layer="Linear"))
    before = cfg.pretty_text
    assert find_start(cfg) is None
    assert cfg.model.init_cfg == dict(type="TruncNormal", layer="Linear")
    assert cfg.pretty_text == before


def test_initialiser_that_matches_nothing_is_an_error(source):
    """MMEngine would log two lines and train from random weights."""
    _, path = source
    cfg = config(backbone=dict(type="Pretrained", checkpoint=path, prefix="encoder."))
    with pytest.raises(ValueError, match=r"epoch_1\.pth: no name starts with 'encoder\.'"):
        find_start(cfg)
    torch.save({"state_dict": {"layer1.0.conv1.weight": torch.ones(2)}}, path)
    start = find_start(config(backbone=dict(type="Pretrained", checkpoint=path)))
    with pytest.raises(ValueError, match=r"epoch_1\.pth: .* tensors not filled: cls_token"):
        start.load_into(Classifier())


def test_several_starts_and_other_parts_are_refused(source):
    _, path = source
    given = dict(OURS, checkpoint=path)
    with pytest.raises(ValueError, match=f"starts from several files, {path} and b.pth: leave one"):
        find_start(config(backbone=given, load_from="b.pth"))
    cfg = config()
    cfg.model.neck[0].init_cfg = dict(type="Pretrained", checkpoint="neck.pth")
    with pytest.raises(ValueError, match=r"model\.neck\.0\.init_cfg reads neck\.pth for a part"):
        find_start(cfg)
    with pytest.raises(ValueError, match=r"model\.backbone\.init_cfg has no checkpoint"):
        find_start(config(backbone=OURS))
    with pytest.raises(ValueError, match=r"init_cfg has no type: give its file with --checkpoint"):
        find_start(config(backbone=dict(checkpoint=path)))


def test_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"absent\.pth: no such checkpoint file"):
        find_start(config(), "absent.pth")
    address = "https://example.org/a.pth"
    with pytest.raises(ValueError, match=f"{address}: only local files are read; download it"):
        find_start(config(), address)


def test_tested_model_is_the_whole_of_it(source):
    model, path = source
    cfg = config(backbone=dict(OURS, checkpoint="absent.pth"), load_from="absent.pth")
    start = find_tested(cfg, path)
    assert cfg.model.backbone.init_cfg is None and cfg.load_from is None
    target = Classifier()
    target.head = nn.Linear(16, 4)
    with pytest.raises(ValueError, match=r"head\.weight is \(3, 16\), model needs \(4, 16\)"):
        start.load_into(target)
    check(find_tested(config(), path), path, model, head=True)

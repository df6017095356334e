"""A config's file and the keys that may be set in it: every slip is named before anything runs."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mae_bench.config.load import load_config

ROOT = Path(__file__).parents[2]
FINETUNE = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"

SMALL = """
from torch.nn import Linear
from torch.optim import SGD

default_scope = "mmengine"
model = dict(type=Linear, in_features=2, out_features=3)
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.1))
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(SMALL)
    return path


def test_no_such_config(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.py: no such config file"):
        load_config(tmp_path / "absent.py")


@pytest.mark.parametrize(("key", "wrong"), [("model", "modle"), ("default_scope", "defualt_scope")])
def test_missing_key_with_its_misspelling(config, key, wrong):
    config.write_text(SMALL.replace(f"{key} =", f"{wrong} ="))
    with pytest.raises(ValueError, match=f"config.py: key '{key}' is missing; .*'{wrong}'"):
        load_config(config)


def test_missing_key_without_anything_like_it(config):
    config.write_text("default_scope = 'mmengine'\n")
    with pytest.raises(ValueError, match=r"key 'model' is missing$"):
        load_config(config)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("train_dataloder", "train_dataloader"),
        ("custom_hook", "custom_hooks"),
        ("param_schedulers", "param_scheduler"),
    ],
)
def test_misspelt_top_level_key(config, wrong, right):
    config.write_text(f"{SMALL}\n{wrong} = None\n")
    with pytest.raises(ValueError, match=f"unknown key '{wrong}'; did you mean '{right}'"):
        load_config(config)


def test_variables_of_ones_own_are_allowed_and_gone(config):
    config.write_text(f"{SMALL}\nepochs = 3\nnorm_cfg = dict(type='BN')\n")
    assert set(load_config(config)) == {"default_scope", "model", "optim_wrapper", "overrides"}


def test_override_of_a_key_that_stands_in_the_config():
    cfg = load_config(FINETUNE, {"model.backbone.img_size": 64})
    assert cfg.model.backbone.img_size == 64
    assert cfg.overrides == {"model.backbone.img_size": 64}


def test_override_of_an_argument_that_the_config_leaves_at_its_default():
    assert "drop_path_rate" not in Config.fromfile(str(FINETUNE)).model.backbone
    cfg = load_config(FINETUNE, {"model.backbone.drop_path_rate": 0.1})
    assert cfg.model.backbone.drop_path_rate == 0.1


def test_override_of_an_argument_that_a_class_hands_to_its_parent():
    # mmpretrain's ImageNet takes MMEngine's ``indices`` as one of its **kwargs.
    cfg = load_config(FINETUNE, {"train_dataloader.dataset.indices": 5})
    assert cfg.train_dataloader.dataset.indices == 5


def test_override_of_a_runner_argument_that_the_config_leaves_out(config):
    assert load_config(config, {"randomness": {"seed": 3}}).randomness.seed == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.backbone.drop_path_rat", "no key 'drop_path_rat'; did you mean 'drop_path_rate'"),
        ("model.bakbone.img_size", "no key 'bakbone'; did you mean 'backbone'"),
        ("model.backbone.arch.dpeth", "no key 'dpeth'; did you mean 'depth'"),
        ("optim_wrapper.optimizer.learning_rate", "no key 'learning_rate'"),
        ("epoch", "the config has no key 'epoch'"),
        ("model.backbone.img_size.x", "model.backbone.img_size is a plain value"),
        ("param_scheduler.warmup", "param_scheduler is a list of 1: use an index"),
        ("param_scheduler.2.warmup", "param_scheduler is a list of 1: use an index"),
        ("param_scheduler.1.warmup", "param_scheduler.1 is not set: give param_scheduler.1.type"),
        ("param_scheduler.0.warm", "did you mean 'warmup'"),
    ],
)
def test_misspelt_override(override, message):
    with pytest.raises(ValueError, match=f"override '{override}': .*{message}"):
        load_config(FINETUNE, {override: 1})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "model.update(_delete_=True)",
            "key 'model._delete_' means nothing .*: assign the dict anew",
        ),
        ("custom_imports = dict(imports='absent_module')", "custom_imports.*absent_module"),
        ("names = SGD()", "a config cannot call what it imports"),
    ],
)
def test_what_a_config_of_python_cannot_say(config, line, message):
    config.write_text(f"{SMALL}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        load_config(config)


MODULE = """
from mmengine.registry import MODELS
from torch import nn

@MODELS.register_module()
class Registered{name}(nn.Module):
    def __init__(self, width=1):
        super().__init__()
"""


def test_modules_of_ones_own_are_imported_before_their_classes_are_looked_up(
    config, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("InConfig", "ByOption"):
        (tmp_path / f"own_{name.lower()}.py").write_text(MODULE.format(name=name))
    config.write_text(
        f"{SMALL}custom_imports = dict(imports=['own_inconfig'])\n"
        "model = dict(type='RegisteredInConfig', width=2)\n"
    )
    assert load_config(config, {"model.width": 3}).model.width == 3
    own = {"custom_imports.imports": ["own_byoption"], "model.type": "RegisteredByOption"}
    cfg = load_config(config, {**own, "model.width": 4})
    assert cfg.model.type.__name__ == "RegisteredByOption" and cfg.model.width == 4


def test_the_name_of_a_package_is_the_shipped_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = Path("configs/pretrain/mae_vit_mini_miniworld.py")
    other.parent.mkdir(parents=True)
    other.write_text("not = a config")
    found = load_config("mae_bench::pretrain/mae_vit_mini_miniworld.py")
    assert found.model.type.__name__ == "MAE"
    with pytest.raises(FileNotFoundError, match="configs/det/none.py: no such config file"):
        load_config("mae_bench::det/none.py")

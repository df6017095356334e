"""Classifiers of other libraries, ready for the robustness command: model, transform, weights.

Both are mmpretrain classifiers, so that they have a data preprocessor and ``mode="tensor"``. What
they add is ``eval_transform``, the transform that belongs to the model, and ``load_weights``.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import mmpretrain
import timm
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.models import TimmClassifier
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from timm.data import resolve_model_data_config
from timm.models import clean_state_dict
from torch import Tensor, nn

from ..checkpoint.reader import Checkpoint
from ..datasets.eval_transform import EvalTransform, PipelineTransform, timm_transform
from ..registry import MODELS

CHANNELS = 255  # timm's mean and std are for values in 0..1, OpenMMLab's for 0..255


@MODELS.register_module()
class TimmModel(TimmClassifier):
    """Any model of timm, with the mean, std, crop and interpolation timm has for it.

    Args:
        model_name: name in timm, such as ``"resnet50.a1_in1k"``.
        pretrained: load timm's weights, from its cache or the hub. Not where a checkpoint follows.
        global_pool, img_size: of timm's model where not None, as the checkpoint was trained.

    Raises:
        ValueError: timm has no such model, or its weights cannot be had.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: bool = False,
        global_pool: str | None = None,
        img_size: int | None = None,
    ) -> None:
        _check_timm_name(model_name)
        given = dict(global_pool=global_pool, img_size=img_size)
        options = {key: value for key, value in given.items() if value is not None}
        try:
            super().__init__(model_name=model_name, pretrained=pretrained, **options)
        except OSError as error:
            raise ValueError(
                f"timm's weights of '{model_name}' are neither in its cache nor to be had from the "
                f"hub ({type(error).__name__}): connect, or give a CHECKPOINT file instead of "
                "model.pretrained=True"
            ) from error
        # What a record calls the model where there is no checkpoint: a file's name and suffix.
        self.own_weights = f"{model_name}.timm" if pretrained else None
        data_config = resolve_model_data_config(self.model, use_test_size=True)
        self.eval_transform: EvalTransform = timm_transform(data_config)
        self.data_preprocessor = MMPRETRAIN_MODELS.build(
            dict(
                type="ClsDataPreprocessor",
                mean=[CHANNELS * value for value in data_config["mean"]],
                std=[CHANNELS * value for value in data_config["std"]],
                to_rgb=True,
            )
        )

    def load_weights(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint with timm's names, of any library that trains timm's models.

        Raises:
            ValueError: names or shapes that are not the model's.
        """
        _load_exactly(self.model, clean_state_dict(checkpoint.stored), checkpoint.path)


def _check_timm_name(name: str) -> None:
    """ValueError for a name, or a tag of pre-trained weights, that timm does not have."""
    if timm.is_model(name):
        try:
            timm.get_pretrained_cfg(name)
            return
        except RuntimeError:  # an unknown tag
            pass
    close = get_close_matches(name, [*timm.list_models(), *timm.list_pretrained()], n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise ValueError(f"timm {timm.__version__} has no model '{name}'{hint}")


def mmpretrain_model(config: str) -> nn.Module:
    """The model of an mmpretrain config, with the transforms of its test pipeline.

    Args:
        config: file, or a path below mmpretrain's own ``configs``, such as
            ``"resnet/resnet50_8xb32_in1k.py"``.

    Raises:
        FileNotFoundError: no such config.
        ValueError: it has no model or no test pipeline.
    """
    own = Path(mmpretrain.__file__).parent / ".mim" / "configs" / config
    path = Path(config) if Path(config).is_file() else own
    if not path.is_file():
        raise FileNotFoundError(f"{config}: no such config file, nor one of mmpretrain's")
    # MMEngine takes a file that imports anything for one of the new style, and then refuses it as
    # the base of one of the old; mmpretrain has such.
    old_style = "_base_" in path.read_text(encoding="utf-8")
    cfg = Config.fromfile(str(path), lazy_import=False if old_style else None)
    loader = cfg.get("test_dataloader") or cfg.get("val_dataloader")
    if "model" not in cfg or loader is None:
        raise ValueError(f"{path}: needs a model and a test_dataloader")
    init_default_scope("mmpretrain")
    # As Runner does it: mean and std stand beside the model in mmpretrain's configs.
    cfg.model.setdefault("data_preprocessor", cfg.get("data_preprocessor"))
    # The weights come from the checkpoint; a backbone's own may be an address.
    for part in (cfg.model, cfg.model.get("backbone") or {}):
        part.pop("init_cfg", None)
    model = MMPRETRAIN_MODELS.build(cfg.model)
    steps = [step for step in loader.dataset.pipeline if not _loads_or_packs(step)]
    model.eval_transform = PipelineTransform(steps)
    model.load_weights = lambda read: _load_exactly(model, read.stored, read.path)
    return model


def _loads_or_packs(step: Mapping[str, Any]) -> bool:
    kind = step["type"]
    name = kind if isinstance(kind, str) else kind.__name__
    return name.split(".")[-1] in ("LoadImageFromFile", "PackInputs")


def _load_exactly(model: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    state = model.state_dict()
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, model needs {tuple(state[name].shape)}"
        for name in state
        if name in tensors and tensors[name].shape != state[name].shape
    ]
    wrong += [f"lacks {name}" for name in state if name not in tensors]
    wrong += [f"has {name} besides" for name in tensors if name not in state]
    if wrong:
        more = f" (and {len(wrong) - 1} more differences)" if len(wrong) > 1 else ""
        raise ValueError(f"{path}: is of another model: {wrong[0]}{more}; no weights were loaded")
    model.load_state_dict(dict(tensors))

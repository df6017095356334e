"""DALL-E's image tokenizer as a target: its encoder, and the tokens of an image."""

import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from unittest import mock

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..registry import MODELS
from .targets import Target

VOCABULARY = 8192
STRIDE = 8  # pixels of the tokenizer's input for a token: three poolings of 2
LOGIT_LAPLACE_EPS = 0.1

# Classes named in the published pickle, by module.
PUBLISHED_CLASSES = {"dall_e.encoder": ("Encoder", "EncoderBlock"), "dall_e.utils": ("Conv2d",)}
PUBLISHED_NAMES = {"w": "weight", "b": "bias"}


class BottleneckBlock(nn.Module):
    """Three 3x3 convolutions and a 1x1 of a quarter of the width, each after a ReLU, scaled down.

    Args:
        in_channels, out_channels: widths; where they differ, a 1x1 convolution replaces the
            identity.
        gain: factor of the residual path.
    """

    def __init__(self, in_channels: int, out_channels: int, gain: float) -> None:
        super().__init__()
        self.gain = gain
        same = in_channels == out_channels
        self.id_path = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        hidden = out_channels // 4
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        widths = [in_channels, hidden, hidden, hidden, out_channels]
        for i, kernel in enumerate((3, 3, 3, 1), start=1):
            layers[f"relu_{i}"] = nn.ReLU()
            layers[f"conv_{i}"] = nn.Conv2d(widths[i - 1], widths[i], kernel, padding=kernel // 2)
        self.res_path = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self.id_path(x) + self.gain * self.res_path(x)


class DVAEEncoder(nn.Module):
    """Encoder of DALL-E's discrete VAE: 8 times smaller, logits over its vocabulary.

    Four groups of two blocks, of width 1, 2, 4 and 8 times ``hidden``, with max-pooling between
    the groups; a 7x7 convolution before them, a ReLU and a 1x1 convolution after. Names are those
    of the published model, ``w`` and ``b`` written out.

    Args:
        hidden: width of the first group.

    Source: Ramesh et al. 2021, Appendix A.2; layout of OpenAI's published encoder (256 wide).
    """

    def __init__(self, hidden: int = 256) -> None:
        super().__init__()
        widths = [hidden * factor for factor in (1, 1, 2, 4, 8)]
        gain = 1 / 8**2  # eight blocks in all
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        stages["input"] = nn.Conv2d(3, hidden, 7, padding=3)
        for i in range(1, 5):
            group: OrderedDict[str, nn.Module] = OrderedDict()
            group["block_1"] = BottleneckBlock(widths[i - 1], widths[i], gain)
            group["block_2"] = BottleneckBlock(widths[i], widths[i], gain)
            if i < 4:
                group["pool"] = nn.MaxPool2d(2)
            stages[f"group_{i}"] = nn.Sequential(group)
        stages["output"] = nn.Sequential(
            OrderedDict(relu=nn.ReLU(), conv=nn.Conv2d(widths[4], VOCABULARY, 1))
        )
        self.blocks = nn.Sequential(stages)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], sides multiples of 8 -> logits (B, 8192, H / 8, W / 8)."""
        # Away from 0 and 1, where the logit-Laplace distribution it was trained with ends.
        return self.blocks((1 - 2 * LOGIT_LAPLACE_EPS) * images + LOGIT_LAPLACE_EPS)


@MODELS.register_module()
class DVAETarget(Target):
    """The token that DALL-E's tokenizer gives each patch, predicted by cross-entropy.

    The tokenizer is frozen and part of the state, so a checkpoint can be read without its file.

    Args:
        values: numbers in a patch; :class:`MAE` fills it in.
        patch_size: side of a patch; images are resized by 8 over it, one token for a patch.
        checkpoint: ``.safetensors`` file written by ``tools/convert_dvae.py``; read when the
            weights are initialised.
        hidden: width of the tokenizer.

    Source: MAE, section 4.1, Tables 1d and 7; BEiT for the size (112 pixels for 14 x 14 tokens).
    BEiT resizes with Lanczos from the crop of the original; here the crop in use is resized with
    antialiased bicubic. Which the authors did is UNKNOWN.
    """

    of_images = True

    def __init__(self, values: int, patch_size: int, checkpoint: str, hidden: int = 256) -> None:
        super().__init__()
        self.out_dim = VOCABULARY
        self.patch_size = patch_size
        self.checkpoint = checkpoint
        self.encoder = DVAEEncoder(hidden).requires_grad_(False)

    def init_weights(self) -> None:
        """Load the tokenizer.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a damaged file, or one of another model.
        """
        path = Path(self.checkpoint)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; write it with tools/convert_dvae.py encoder.pkl {path}"
            )
        try:
            self.encoder.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{path}: not the tokenizer's weights: {error}") from None

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, N) int64 of images (B, 3, H, W) in [0, 1], patches row-major."""
        size = [side // self.patch_size * STRIDE for side in images.shape[2:]]
        images = F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        return self.encoder(images).argmax(dim=1).flatten(1)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of logits (B, n, 8192) and tokens (B, n), a scalar."""
        return F.cross_entropy(prediction.flatten(0, 1), target.flatten())

    def to_pixels(self, prediction: Tensor, patches: Tensor) -> Tensor:
        """Raise ValueError: an image would need DALL-E's decoder, which training does not."""
        raise ValueError("a model of dVAE tokens predicts no pixels, so it draws no images")


class _PublishedModule(nn.Module):
    """Stands in for the classes of package ``dall_e``: their tensors are all that is wanted."""


def read_published_encoder(path: Path) -> DVAEEncoder:
    """Read OpenAI's pickled encoder. THIS RUNS CODE THAT IS IN THE FILE.

    Package ``dall_e`` is not needed: modules of that name, empty but for the classes' names, take
    its place while the file is read.

    Raises:
        ValueError: the file is damaged, or holds something else than that encoder.
    """
    names = ("dall_e", "dall_e.encoder", "dall_e.utils")
    stand_ins = {name: ModuleType(name) for name in names}
    for name, classes in PUBLISHED_CLASSES.items():
        for class_name in classes:
            setattr(stand_ins[name], class_name, type(class_name, (_PublishedModule,), {}))
    try:
        with mock.patch.dict(sys.modules, stand_ins):
            published = torch.load(path, map_location="cpu", weights_only=False)
        tensors = {}
        for name, value in published.state_dict().items():
            stem, _, last = name.rpartition(".")
            tensors[f"{stem}.{PUBLISHED_NAMES[last]}"] = value.float()
        encoder = DVAEEncoder(hidden=len(tensors["blocks.input.bias"]))
        encoder.load_state_dict(tensors)
    except Exception as error:  # a pickle can fail in any way
        raise ValueError(f"{path}: not DALL-E's published encoder: {error}") from None
    return encoder

"""What a parameter starts from, as it is told without drawing, beside what is drawn."""

import math
from collections.abc import Callable

import pytest
import torch
from mmengine.model import BaseModule, caffe2_xavier_init, kaiming_init
from scipy import stats
from timm.layers import lecun_normal_, trunc_normal_
from torch import Tensor, nn

from mae_bench.recipe.first_weights import Start, build_and_start

SHAPE = (200, 100)  # fan in 100
CUT = math.sqrt(1 / 100) / 0.87962566  # deviation of Lecun's normal before it is cut at two of them
DRAWN = {
    "xavier": (nn.init.xavier_uniform_, stats.uniform(-math.sqrt(0.02), 2 * math.sqrt(0.02))),
    "normal": (lambda w: nn.init.normal_(w, 0.5, 0.02), stats.norm(0.5, 0.02)),
    "PyTorch": (lambda w: nn.init.trunc_normal_(w, std=2e-5), stats.norm(0, 2e-5)),
    "cut": (lambda w: nn.init.trunc_normal_(w, 0, 1, -1, 1), stats.truncnorm(-1, 1)),
    "timm": (lambda w: trunc_normal_(w, std=0.02), stats.norm(0, 0.02)),
    "lecun": (lecun_normal_, stats.truncnorm(-2, 2, scale=CUT)),
    "halved": (lambda w: nn.init.uniform_(w, -1, 1).div_(2), stats.uniform(-0.5, 1)),
}


class Filled(BaseModule):
    """A tensor that an initialiser fills."""

    def __init__(self, fill: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(SHAPE))
        self.fill = fill

    def init_weights(self) -> None:
        with torch.no_grad():
            self.fill(self.weight)


@pytest.mark.parametrize("name", DRAWN)
def test_distribution_is_the_one_that_is_drawn_from(name):
    fill, expected = DRAWN[name]
    model, starts = build_and_start(lambda: Filled(fill))
    assert model.weight.is_meta
    start = starts["weight"]
    told = {
        "uniform": lambda: stats.uniform(start.centre - start.spread, 2 * start.spread),
        "normal": lambda: stats.truncnorm(
            -start.cut / start.spread, start.cut / start.spread, start.centre, start.spread
        ),
    }[start.kind]()
    assert told.mean() == pytest.approx(expected.mean(), abs=1e-9)
    assert told.std() == pytest.approx(expected.std(), rel=1e-6)
    torch.manual_seed(0)
    real = Filled(fill)
    real.init_weights()
    drawn = real.weight.detach().flatten()[::5].double()
    assert stats.kstest(drawn, told.cdf).pvalue > 0.01
    assert f"{expected.std():.3g}" in str(start)


def test_modules_of_pytorch_and_of_mmengine():
    def build() -> nn.Module:
        layers = [
            nn.Linear(100, 3),
            nn.Conv2d(4, 8, 3),
            nn.ConvTranspose2d(4, 8, 2),
            nn.LayerNorm(4),
        ]
        caffe2_xavier_init(layers[1])
        kaiming_init(layers[2])
        return nn.Sequential(*layers)

    _, starts = build_and_start(build)
    text = {name: str(start) for name, start in starts.items()}
    assert text["0.weight"] == text["0.bias"] == "uniform, ±0.1 (std 0.0577)"  # 1 / sqrt(100)
    assert text["1.weight"] == "uniform, ±0.289 (std 0.167)"  # sqrt(3 / 36)
    assert text["2.weight"] == "normal, std 0.354"  # sqrt(2 / (4 * 4))
    assert (text["3.weight"], text["3.bias"], text["1.bias"]) == ("1", "0", "0")


def test_what_is_neither_drawn_nor_constant():
    def build() -> nn.Module:
        model = nn.Module()
        model.table = nn.Parameter(torch.arange(4.0).sin())
        model.zeros = nn.Parameter(torch.zeros(2))
        model.unset = nn.Parameter(torch.empty(2))
        return model

    _, starts = build_and_start(build)
    assert starts["table"] == Start("computed") and starts["zeros"] == Start("constant")
    assert starts["unset"] == Start("empty")

"""LARS against steps worked out in plain Python floats."""

import math

import pytest
import torch
from torch import nn

from mae_bench.training import LARS

MOMENTUM, WEIGHT_DECAY, TRUST = 0.9, 0.1, 0.001


def norm(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values))


def test_three_steps_by_hand():
    # The learning rate changes on the way: inside the buffer it would act again on later steps.
    rates = [2.0, 5.0, 1.0]
    gradients = [[1.0, -2.0, 0.5, 0.0], [0.3, 0.4, -1.0, 2.0], [-1.0, 1.0, 1.0, 0.25]]
    bias_gradients = [[0.5, -0.25], [1.0, 0.0], [-2.0, 4.0]]
    weight, bias = [0.6, -0.8, 1.2, 0.4], [0.1, 0.2]

    p = nn.Parameter(torch.tensor(weight, dtype=torch.float64).view(2, 2))
    b = nn.Parameter(torch.tensor(bias, dtype=torch.float64))
    optimizer = LARS([p, b], lr=1.0, weight_decay=WEIGHT_DECAY, momentum=MOMENTUM)

    buffer, bias_buffer = [0.0] * 4, [0.0] * 2
    for rate, gradient, bias_gradient in zip(rates, gradients, bias_gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        p.grad = torch.tensor(gradient, dtype=torch.float64).view(2, 2)
        b.grad = torch.tensor(bias_gradient, dtype=torch.float64)
        optimizer.step()

        decayed = [g + WEIGHT_DECAY * w for g, w in zip(gradient, weight, strict=True)]
        ratio = TRUST * norm(weight) / norm(decayed)
        buffer = [MOMENTUM * m + ratio * g for m, g in zip(buffer, decayed, strict=True)]
        weight = [w - rate * m for w, m in zip(weight, buffer, strict=True)]
        bias_buffer = [MOMENTUM * m + g for m, g in zip(bias_buffer, bias_gradient, strict=True)]
        bias = [w - rate * m for w, m in zip(bias, bias_buffer, strict=True)]

        assert p.flatten().tolist() == pytest.approx(weight, rel=1e-12)
        assert b.tolist() == pytest.approx(bias, rel=1e-12)


def test_first_step_in_numbers():
    # |p| = 5, |g| = 10: the ratio is 0.001 * 5 / 10 = 0.0005
    p = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    p.grad = torch.tensor([[6.0, 8.0]])
    LARS([p], lr=100.0).step()
    assert p.tolist() == [[pytest.approx(3 - 0.3), pytest.approx(4 - 0.4)]]


def test_bias_is_neither_adapted_nor_decayed():
    b = nn.Parameter(torch.tensor([10.0]))
    b.grad = torch.tensor([2.0])
    LARS([b], lr=0.5, weight_decay=100.0).step()
    assert b.item() == 10.0 - 0.5 * 2.0


@pytest.mark.parametrize("weight", [[[0.0, 0.0]], [[1.0, 2.0]]])
def test_zero_norm_leaves_the_gradient_as_it_is(weight):
    # Zero weight with a gradient, or a weight with zero gradient: the ratio is 1, never nan.
    p = nn.Parameter(torch.tensor(weight))
    p.grad = torch.tensor([[4.0, 0.0]]) if weight == [[0.0, 0.0]] else torch.zeros(1, 2)
    expected = (p - 0.25 * p.grad).tolist()
    LARS([p], lr=0.25).step()
    assert p.tolist() == expected


def test_parameter_without_gradient_stays_and_closure_is_called():
    used, unused = (nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = LARS([used, unused], lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (3 * used).sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure)) == 3.0
    assert used.item() == pytest.approx(1 - 0.1 * 3)
    assert unused.item() == 1
    assert unused not in optimizer.state


def test_state_survives_saving():
    def run(steps: list[float], optimizer: LARS, p: nn.Parameter) -> None:
        for value in steps:
            p.grad = torch.full_like(p, value)
            optimizer.step()

    p = nn.Parameter(torch.ones(2, 2))
    straight = LARS([p], lr=1.0)
    run([1.0, -2.0, 3.0], straight, p)

    q = nn.Parameter(torch.ones(2, 2))
    first = LARS([q], lr=1.0)
    run([1.0, -2.0], first, q)
    second = LARS([q], lr=7.0)
    second.load_state_dict(first.state_dict())
    run([3.0], second, q)
    assert torch.equal(p, q)

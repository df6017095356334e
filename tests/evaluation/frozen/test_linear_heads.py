"""Many linear heads at once beside PyTorch's own layer, optimizer and schedule, one at a time."""

import pytest
import torch

from mae_bench.evaluation.frozen import LinearHeads
from mae_bench.evaluation.frozen.linear_heads import RATES, classify, train_heads
from mae_bench.evaluation.frozen.measure import held_out

from .clusters import CLASSES, WIDTH, clusters

EPOCHS, BATCH, MOMENTUM, SEED = 4, 32, 0.9, 5


def alone(
    features: torch.Tensor, labels: torch.Tensor, rate: float, decay: float = 0.0
) -> torch.nn.Linear:
    """One head by torch.optim.SGD and CosineAnnealingLR."""
    generator = torch.Generator().manual_seed(SEED)
    head = torch.nn.Linear(WIDTH, CLASSES)
    head.weight.data = 0.01 * torch.randn(CLASSES, WIDTH, generator=generator)
    head.bias.data.zero_()
    steps = len(labels) // BATCH
    optimizer = torch.optim.SGD(
        head.parameters(), lr=rate * BATCH / 256, momentum=MOMENTUM, weight_decay=decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels), generator=generator)
        for rows in order[: steps * BATCH].split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(features[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return head


def test_each_head_is_that_of_pytorch_alone():
    features, labels = clusters(200, 0)
    settings = [(1e-3, 0.0), (0.1, 0.0), (1.0, 0.0), (0.1, 0.5)]
    together = train_heads(features, labels, CLASSES, settings, EPOCHS, BATCH, MOMENTUM, SEED)
    for setting, weights in zip(settings, together, strict=True):
        head = alone(features, labels, *setting)
        torch.testing.assert_close(weights[:, :-1], head.weight.data, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(weights[:, -1], head.bias.data, rtol=1e-4, atol=1e-5)
        one = train_heads(features, labels, CLASSES, [setting], EPOCHS, BATCH, MOMENTUM, SEED)
        torch.testing.assert_close(weights, one[0], rtol=1e-5, atol=1e-6)
        val, _ = clusters(90, 1)
        assert torch.equal(classify(val, weights[None])[0], head(val).argmax(dim=1))


def test_the_rate_is_chosen_on_held_out_images(sets):
    rates = [1e-6, 0.05, 3000.0]
    measure = LinearHeads(rates, [0.0], EPOCHS, BATCH, MOMENTUM, share=0.25, seed=SEED)
    measured = measure(sets)
    (train, labels), (val, val_labels) = clusters(200, 0), clusters(90, 1)
    chosen_on = held_out(200, 0.25, SEED)
    held, found = [], []
    for rate in rates:
        head = alone(train[~chosen_on], labels[~chosen_on], rate)
        for rows, truth, to in (
            (train[chosen_on], labels[chosen_on], held),
            (val, val_labels, found),
        ):
            to.append(100 * float((head(rows).argmax(dim=1) == truth).double().mean()))
    best = held.index(max(held))
    assert measured.metrics == pytest.approx(
        {
            "linear/mean/top1": found[best],
            "linear/mean/held_out_top1": held[best],
            "linear/mean/best_on_val_top1": max(found),
        }
    )
    assert measured.card == {"linear_mean_rate": rates[best], "linear_mean_decay": 0.0}


def test_rates_are_those_of_dinov2():
    assert len(RATES) == 13 and min(RATES) == 1e-5 and max(RATES) == 0.1


def test_fewer_images_than_a_batch_are_refused(sets):
    with pytest.raises(ValueError, match="batch=1024 is more than the 180 training images"):
        LinearHeads()(sets)

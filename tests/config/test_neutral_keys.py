"""Which overrides may differ on resuming, between two tests, and beside a published recipe."""

import pytest

from mae_bench.config.neutral_keys import is_free, is_neutral


@pytest.mark.parametrize(
    ("key", "resumed", "tested", "beside_a_table"),
    [
        ("visualizer", True, True, True),
        ("visualizer.vis_backends.1.type", True, True, True),
        ("default_hooks.logger.interval", True, True, True),
        ("train_dataloader.num_workers", True, True, True),
        ("test_dataloader.num_workers", True, True, True),
        ("train_dataloader.dataset.data_root", True, True, True),
        # other files may be other data: beside a table that counts, a resumed run compares them
        ("train_dataloader.dataset.ann_file", True, True, False),
        ("test_evaluator.topk", True, False, False),
        ("val_dataloader.batch_size", False, False, True),
        ("train_dataloader.batch_size", False, False, False),
        ("randomness.seed", False, False, True),
        ("optim_wrapper.optimizer.lr", False, False, False),
        # a hook can train another model
        ("default_hooks.ema.type", False, False, False),
        ("default_hooks.sampler_seed", False, False, False),
    ],
)
def test_what_leaves_a_result_alone(key, resumed, tested, beside_a_table):
    assert (is_free(key), is_free(key, test=True), is_neutral(key)) == (
        resumed,
        tested,
        beside_a_table,
    )

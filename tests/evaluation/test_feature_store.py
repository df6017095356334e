"""The cache of features: whole or made anew, and never those of something else."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mae_bench.evaluation import feature_store
from mae_bench.evaluation.feature_store import FeatureStore, ShardBatches, weights_digest

DECIDING = {"weights": "a", "files": "b", "pipeline": [{"type": "Resize", "size": 256}]}


@pytest.fixture
def store(tmp_path, monkeypatch) -> FeatureStore:
    """Ten images in shards of four."""
    monkeypatch.setattr(feature_store, "SHARD_SAMPLES", 4)
    return FeatureStore(tmp_path, DECIDING, 10)


def fill(store: FeatureStore) -> torch.Tensor:
    whole = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).half()
    for shard in store.shards:
        rows = slice(shard.start, shard.end)
        store.write(shard, {"mean": whole[rows]}, torch.arange(10)[rows])
    return whole


def test_what_is_written_is_read(store):
    whole = fill(store)
    assert [(shard.start, shard.end) for shard in store.shards] == [(0, 4), (4, 8), (8, 10)]
    assert store.names == ["mean"]
    assert torch.equal(store.load("mean"), whole)
    assert store.labels.tolist() == list(range(10))
    assert torch.equal(load_file(store.shards[2].file)["mean"], whole[8:])
    assert [chunk.tolist() for chunk in store.chunks("labels")][1] == [4, 5, 6, 7]
    assert not any(store.damage(shard) for shard in store.shards)


@pytest.mark.parametrize("place", [0, 20, -1], ids=["length", "header", "last bit"])
def test_a_flipped_bit_is_noticed(store, place):
    fill(store)
    file = store.shards[1].file
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert [store.damage(shard) is None for shard in store.shards] == [True, False, True]


def test_missing_and_cut_shards_and_those_of_others_are_noticed(store, tmp_path):
    fill(store)
    first, second, third = (shard.file for shard in store.shards)
    third.unlink()
    assert store.damage(store.shards[2]) == "is not there"
    second.write_bytes(second.read_bytes()[:-8])
    assert store.damage(store.shards[1])
    other = FeatureStore(tmp_path, {**DECIDING, "weights": "c"}, 10)
    other.folder.mkdir()
    other.shards[0].file.write_bytes(first.read_bytes())
    assert other.damage(other.shards[0]) == "holds other features"
    first.rename(second)
    shorter = FeatureStore(tmp_path, DECIDING, 6)
    assert shorter.damage(shorter.shards[1]) == "holds another number of images"


def test_key_changes_with_each_ingredient(tmp_path):
    changes = [
        {},
        {"weights": "c"},
        {"files": "c"},
        {"pipeline": [{"type": "Resize", "size": 224}]},
    ]
    keys = [FeatureStore(tmp_path, {**DECIDING, **change}, 10).key for change in changes]
    assert len(set(keys)) == len(keys)
    assert keys[0] == FeatureStore(Path("elsewhere"), dict(reversed(DECIDING.items())), 10).key


def test_digest_of_weights_sees_values_names_and_buffers():
    def digest(change) -> str:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        with torch.no_grad():
            change(module)
        return weights_digest(module)

    same = digest(lambda module: None)
    assert same == digest(lambda module: module.eval())
    assert same != digest(lambda module: module[0].weight[0, 0].add_(1e-7))
    assert same != digest(lambda module: module[1].running_mean.add_(1))
    assert same != digest(lambda module: module.append(nn.Linear(1, 1)))


def test_batches_end_with_their_shard(store):
    batches = ShardBatches([(store.shards[0], 100), (store.shards[2], 8)], 3)
    assert list(batches) == [[100, 101, 102], [103], [8, 9]] and len(batches) == 3
    assert batches.batches_of(store.shards[0]) == 2

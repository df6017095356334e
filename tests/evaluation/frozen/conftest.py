"""Small sets of features, in several shards."""

import pytest
import torch

from mae_bench.evaluation import feature_store
from mae_bench.evaluation.feature_store import FeatureStore
from mae_bench.evaluation.frozen.measure import FrozenSets

from .clusters import CLASSES, clusters


@pytest.fixture
def sets(tmp_path, monkeypatch) -> FrozenSets:
    monkeypatch.setattr(feature_store, "SHARD_SAMPLES", 37)
    stores = []
    for name, count, seed in (("train", 200, 0), ("val", 90, 1)):
        store = FeatureStore(tmp_path, {"name": name}, count)
        whole, labels = clusters(count, seed)
        for shard in store.shards:
            rows = slice(shard.start, shard.end)
            store.write(shard, {"mean": whole[rows]}, labels[rows])
        stores.append(store)
    return FrozenSets(*stores, CLASSES, torch.device("cpu"), tuple)

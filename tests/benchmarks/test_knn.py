"""k-NN holds neither the matrix of similarities nor the training features."""

import pytest

from benchmarks import knn
from benchmarks.measure import peak_memory


@pytest.mark.slow  # by importing everything once more
def test_memory_is_less_than_that_of_matrix_or_features(tmp_path):
    sizes = {"train": 100_000, "val": 500}
    for name, count in sizes.items():
        knn.write_features(tmp_path / name, count, 256)
    metrics = knn.classifying(str(tmp_path), {"train": 4_096, "val": 500})()
    assert list(metrics.metrics) == [f"knn/mean/top1_k{k}" for k in (10, 20, 100, 200)]
    mib = 2**20
    features, matrix = (100_000 * 4 * width / mib for width in (256, 500))  # 98 and 191
    assert 10 < peak_memory(knn.classifying, str(tmp_path), sizes) < min(features, matrix)

"""k-NN beside scikit-learn's, and beside the formula with the whole matrix."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mae_bench.evaluation.frozen import KNN, knn, measure
from mae_bench.evaluation.frozen.knn import nearest, vote

from .clusters import CLASSES, clusters

T = 0.07


def test_accuracy_is_that_of_sklearn(sets):
    metrics = KNN(neighbours=[1, 10, 50], temperature=T)(sets).metrics
    (train, labels), (val, val_labels) = clusters(200, 0), clusters(90, 1)
    for k in (1, 10, 50):
        model = KNeighborsClassifier(
            k, metric="cosine", weights=lambda distances: np.exp((1 - distances) / T)
        ).fit(train.double().numpy(), labels.numpy())
        expected = 100 * model.score(val.double().numpy(), val_labels.numpy())
        assert metrics[f"knn/mean/top1_k{k}"] == pytest.approx(expected)
    assert len(set(metrics.values())) > 1 and 30 < max(metrics.values()) < 95


def test_chunks_give_what_the_whole_matrix_gives(monkeypatch):
    monkeypatch.setattr(knn, "QUERIES", 7)
    train, labels = clusters(200, 0)
    queries, _ = clusters(30, 1)
    similarity = torch.nn.functional.cosine_similarity(queries[:, None], train[None], dim=2)
    expected = similarity.topk(25, dim=1)
    for size in (10, 64, 200):  # a chunk with fewer images than neighbours among them
        near, places = nearest(train.split(size), queries, 25)
        torch.testing.assert_close(near, expected.values)
        assert torch.equal(places, expected.indices)
    votes = torch.zeros(30, CLASSES)
    for row, (near, at) in enumerate(zip(*expected, strict=True)):
        for similar, place in zip(near, at, strict=True):
            votes[row, labels[place]] += torch.exp(similar / T)
    found = vote(expected.values, labels[expected.indices], CLASSES, T)
    assert torch.equal(found, votes.argmax(dim=1))


def test_weights_decide_where_counts_would_not():
    similarities, labels = torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[2, 1, 1]])
    assert vote(similarities, labels, 3, T).item() == 2
    assert vote(similarities, labels, 3, 100.0).item() == 1


def test_too_many_neighbours_and_unknown_features_are_refused(sets):
    with pytest.raises(ValueError, match="more than the 200 training images"):
        KNN(neighbours=[10, 201])(sets)
    with pytest.raises(ValueError, match=r"features=\['class_token'\]: extracted are mean"):
        KNN(neighbours=[10], features=["class_token"])(sets)


def test_progress_is_told(sets, monkeypatch):
    lines = []
    monkeypatch.setattr(measure, "print_log", lambda line, logger: lines.append(line))
    KNN(neighbours=[10])(sets)
    assert lines == [
        f"k-NN of mean: training images {done} of 200" for done in (37, 74, 111, 148, 185)
    ]

"""Logistic regression beside scikit-learn's; few images of each class."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as Sklearn

from mae_bench.evaluation.frozen import Logistic, LowShot, logistic
from mae_bench.evaluation.frozen.logistic import LogisticRegression
from mae_bench.evaluation.frozen.low_shot import draw_images
from mae_bench.evaluation.frozen.measure import held_out

from .clusters import CLASSES, clusters


def sklearn(strength: float, features: torch.Tensor, labels: torch.Tensor) -> Sklearn:
    model = Sklearn(C=strength, tol=1e-10, max_iter=10000)
    return model.fit(features.double().numpy(), labels.numpy())


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_fit_is_that_of_sklearn(strength, monkeypatch):
    monkeypatch.setattr(logistic, "ROWS", 64)  # fitted in chunks
    (train, labels), (val, _) = clusters(200, 0), clusters(90, 1)
    expected = sklearn(strength, train, labels)
    model = LogisticRegression(strength).fit(train, labels, CLASSES)
    np.testing.assert_allclose(model.weights[:, :-1], expected.coef_, rtol=1e-3, atol=1e-4)
    probabilities = model.logits(val).softmax(dim=1)
    np.testing.assert_allclose(
        probabilities, expected.predict_proba(val.double().numpy()), rtol=1e-3, atol=1e-4
    )
    assert (model.predict(val).numpy() == expected.predict(val.double().numpy())).all()


def test_penalty_is_chosen_on_held_out_images_and_fitted_to_all(sets):
    strengths = [1e-6, 0.01, 1.0]
    measured = Logistic(strengths, share=0.25, seed=3)(sets)
    (train, labels), (val, val_labels) = clusters(200, 0), clusters(90, 1)
    chosen_on = held_out(200, 0.25, seed=3)
    assert chosen_on.sum() == 50
    scores = [
        100
        * sklearn(strength, train[~chosen_on], labels[~chosen_on]).score(
            train[chosen_on], labels[chosen_on]
        )
        for strength in strengths
    ]
    best = strengths[int(np.argmax(scores))]
    assert best != strengths[0] and measured.card == {"logistic_mean_C": best}
    assert measured.metrics["logistic/mean/held_out_top1"] == pytest.approx(max(scores))
    top1 = 100 * sklearn(best, train, labels).score(val, val_labels)
    assert measured.metrics["logistic/mean/top1"] == pytest.approx(top1)


def test_low_shot_is_mean_and_spread_over_the_draws(sets):
    metrics = LowShot(counts=[2, 0.1], draws=3)(sets).metrics
    (train, labels), (val, val_labels) = clusters(200, 0), clusters(90, 1)
    for count, name in ((2, "n2"), (0.1, "10pct")):
        found = []
        for seed in range(3):
            drawn = draw_images(labels, count, seed)
            found.append(100 * sklearn(1.0, train[drawn], labels[drawn]).score(val, val_labels))
        assert metrics[f"low_shot/mean/top1_{name}"] == pytest.approx(np.mean(found))
        assert metrics[f"low_shot/mean/top1_{name}_std"] == pytest.approx(np.std(found, ddof=1))
    assert len(set(metrics.values())) == 4


def test_draws_have_as_many_of_each_class_and_differ():
    labels = torch.tensor([0] * 30 + [1] * 10 + [2] * 4)
    drawn = [draw_images(labels, 3, seed) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert labels[drawn[0]].bincount().tolist() == [3, 3, 3]
    assert len(drawn[0].unique()) == 9
    assert labels[draw_images(labels, 0.1, 0)].bincount().tolist() == [3, 1, 1]
    with pytest.raises(ValueError, match="5 images of each class, and class 2 has 4"):
        draw_images(labels, 5, 0)
    with pytest.raises(ValueError, match="draws=1 have no spread"):
        LowShot(draws=1)


def test_published_lists(sets, tmp_path):
    files = [f"train/n{i % 7}/n{i % 7}_{i}.JPEG" for i in range(200)]
    sets = replace(sets, train_files=lambda: files)
    chosen = list(range(199, 0, -3))
    names = [files[i].rpartition("/")[2] for i in chosen]
    (tmp_path / "1percent.txt").write_text("\n".join(names) + "\n")
    measure = LowShot(counts=[], lists=[str(tmp_path / "1percent.txt")])
    (train, labels), (val, val_labels) = clusters(200, 0), clusters(90, 1)
    expected = 100 * sklearn(1.0, train[chosen], labels[chosen]).score(val, val_labels)
    assert measure(sets).metrics == {"low_shot/mean/top1_1percent": pytest.approx(expected)}

    for content, message in (
        ("", "1percent.txt is empty"),
        (f"{names[0]}\n{names[0]}\n", f"names '{names[0]}' twice"),
        (f"{names[0]}\nn9_9.JPEG\n", "1 of 2 images, such as 'n9_9.JPEG', are not in"),
    ):
        (tmp_path / "1percent.txt").write_text(content)
        with pytest.raises(ValueError, match=message):
            measure(sets)
    with pytest.raises(ValueError, match="have the same name"):
        LowShot(lists=["a/1percent.txt", "b/1percent.txt"])

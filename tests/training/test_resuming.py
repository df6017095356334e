"""A run goes on as the run that it was, or says what has changed."""

import json
import math
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import CosineAnnealingLR, LinearLR
from PIL import Image

from mae_bench.datasets.image_folders import ImageFolders
from mae_bench.training import launch
from mae_bench.training.hooks import WriteRecord
from mae_bench.training.hooks.saving import load_checkpoint_file

from .conftest import losses

pytestmark = pytest.mark.faults

LENGTH = 5  # iterations of an epoch of 22 images


class Stop(BaseException):
    """Nothing may take care of it, as of a signal."""


class Watcher(Hook):
    """Keeps the learning rates that steps are made with, and stops the run after one of them."""

    rates: dict[int, list[float]] = {}

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.param_groups
        Watcher.rates[runner.iter] = [group["lr"] for group in groups]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.stop_after:
            raise Stop


@pytest.fixture
def train(tiny, images, tmp_path):
    """Start or resume a run of four epochs in ``work``; the rates of its steps."""

    def run(resume=True, stop_after=None, folder=images, work="work", extend=False, change=None):
        config = tiny["tiny_config"](str(tmp_path / work), str(folder), average=False)
        if change:
            change(config)
        Watcher.rates = {}
        config.custom_hooks.append(Watcher(stop_after))
        if stop_after is None:
            launch.run(config, resume, extend)
        else:
            with pytest.raises(Stop):
                launch.run(config, resume, extend)
        return Watcher.rates

    return run


@pytest.fixture
def copy(images, tmp_path) -> Path:
    return Path(shutil.copytree(images, tmp_path / "images"))


def remove(folder):
    for path in sorted(folder.rglob("*.jpg"))[:10]:
        path.unlink()


def add(folder):
    shutil.copy(folder / "a/0.jpg", folder / "a/new.jpg")


def rename(folder):
    (folder / "a/0.jpg").rename(folder / "a/00.jpg")


def rewrite(folder):
    Image.new("RGB", (60, 60)).save(folder / "a/0.jpg")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove, "train has 12 samples, and 22 then"),
        (add, "train has 23 samples, and 22 then"),
        (rename, r"train has as many samples \(22\) but other files, sizes or labels"),
        (rewrite, r"train has as many samples \(22\) but other files, sizes or labels"),
    ],
)
def test_other_data_is_refused(train, copy, change, words):
    train(stop_after=7, folder=copy)
    change(copy)
    message = f"run.json: the data has changed since the run began: {words}. Bring the old data"
    with pytest.raises(ValueError, match=message):
        train(folder=copy)


def test_data_that_changes_under_a_run(train, copy, tmp_path):
    """The record is there, and says that nobody knows what its number is of."""

    class Overwrite(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 7:
                rewrite(copy)

    def prepare(config):
        config.custom_hooks += [Overwrite(), dict(type=WriteRecord)]
        config.config_sha256 = "0" * 64
        object.__setattr__(config, "_filename", "configs/pretrain/tiny.py")

    message = "record.json: the data was changed while the run was at work: train has as many"
    with pytest.raises(ValueError, match=message):
        train(folder=copy, change=prepare)
    assert json.loads((tmp_path / "work/record.json").read_text())["status"] == "failed"
    assert (tmp_path / "work/checkpoint.safetensors").is_file()


def test_the_same_data_elsewhere_with_other_workers_is_the_same_run(train, copy, tmp_path):
    train(work="whole")
    before = torch.get_num_threads()

    def others(config):
        config.train_dataloader.num_workers = 2
        config.default_hooks.checkpoint.interval = 2

    try:
        train(stop_after=7)
        torch.set_num_threads(before + 1)
        train(folder=copy, change=others)
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
    assert losses(tmp_path / "work") == losses(tmp_path / "whole")
    run = json.loads((tmp_path / "work/run.json").read_text())
    assert run["settings"]["train_dataloader.num_workers"] == "2"
    assert run["data"]["train"]["samples"] == 22 and run["threads"] == before


def pack_tar(images: Path, root: Path) -> None:
    with tarfile.open(root / "noise-train.tar", "w") as tar:
        for name in ("b", "a"):
            tar.add(images / name, name)


def pack_parquet(images: Path, root: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    paths = sorted(images.glob("*/*"))
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    labels = ["ab".index(path.parent.name) for path in paths]
    for shard, start in enumerate((0, 8)):
        part = slice(start, None if shard else 8)
        table = pa.table({"image": rows[part], "label": labels[part]})
        parquet.write_table(table, root / f"train-{shard}.parquet", row_group_size=3)


@pytest.mark.parametrize("pack", [pack_tar, pack_parquet])
def test_a_run_from_archives_is_that_from_the_folder_and_resumes_to_the_bit(
    train, images, tmp_path, monkeypatch, pack
):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    pack(images, tmp_path)

    def packed(config):
        dataset = config.train_dataloader.dataset
        dataset.type, dataset.data_prefix = ImageFolders, "train"
        config.train_dataloader.num_workers = 2

    train(work="whole")
    train(stop_after=7, folder=tmp_path, change=packed)
    train(folder=tmp_path, change=packed)
    assert losses(tmp_path / "work") == losses(tmp_path / "whole")


def test_a_state_of_another_run_is_refused(train, tmp_path):
    train(stop_after=7)
    train(stop_after=7, work="other")
    shutil.copy(tmp_path / "other/iter_6.pth", tmp_path / "work/iter_6.pth")
    with pytest.raises(ValueError, match=r"work/iter_6.pth: is of another run than the run.json"):
        train()


def test_a_damaged_identity_is_named(train, tmp_path):
    train(stop_after=4)
    for content in ("", '{"processes": 1}'):
        (tmp_path / "work/run.json").write_text(content)
        with pytest.raises(ValueError, match=r"run.json: (unreadable|has no 'run', it is damaged)"):
            train()


def test_a_state_says_what_it_was_trained_on(train, copy, tmp_path):
    """Also where it goes on in another folder, by ``load_from``."""
    train(stop_after=7, folder=copy)
    state = tmp_path / "work/iter_6.pth"

    def go_on(config):
        config.load_from = str(state)

    rewrite(copy)
    with pytest.raises(ValueError, match="iter_6.pth: the data has changed since the run began"):
        train(folder=copy, work="other", change=go_on)
    assert not (tmp_path / "other/run.json").exists()


class Refuse(Hook):
    """What it draws from is mistyped, say."""

    priority = "LOWEST"

    def before_train(self, runner):
        raise ValueError("no such folder")


def test_a_run_that_a_hook_refuses_leaves_its_folder_free(train, tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        train(resume=False, change=lambda config: config.custom_hooks.append(Refuse()))
    assert not (tmp_path / "work/run.json").exists()
    train(resume=False, stop_after=1)


def test_the_config_in_a_state_is_not_run(train, tmp_path):
    train(stop_after=7)
    path = tmp_path / "work/iter_6.pth"
    state = load_checkpoint_file(str(path))
    state["meta"]["cfg"] = state["meta"]["config"] = f"open({str(tmp_path / 'ran')!r}, 'w')"
    torch.save(state, path)
    train()
    assert not (tmp_path / "ran").exists()


def closed_form(step: int, total: int, warmup: int, peak: float) -> float:
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def length(epochs: int):
    def change(config):
        config.train_cfg.max_epochs = epochs
        config.param_scheduler[0].warmup = 0.6

    return change


def test_a_longer_schedule_is_followed_from_where_it_would_be(train, tmp_path):
    train(change=length(2))
    with pytest.raises(ValueError, match="is 4 and was 2. --extend takes another length"):
        train(change=length(4))
    with pytest.raises(ValueError, match="missing: no run to extend; name its --work-dir"):
        train(change=length(4), work="missing", extend=True)
    # stopped before there is a state of the new length: it need not be asked for again
    rates = train(change=length(4), extend=True, stop_after=10)
    rates |= train(change=length(4))
    assert sorted(rates) == list(range(10, 20))
    for step, values in rates.items():
        expected = closed_form(step, 20, 3, 1e-2)
        assert max(values) == pytest.approx(expected, rel=1e-12)
    run = json.loads((tmp_path / "work/run.json").read_text())
    was, now = ({"train_cfg.max_epochs": str(n)} for n in (2, 4))
    assert run["extended"] == [{"iteration": 10, "from": was, "to": now}]


def chained(epochs: int):
    """Schedulers that make each rate from the one before."""

    def change(config):
        config.train_cfg.max_epochs = epochs
        config.param_scheduler = [
            dict(type=LinearLR, start_factor=0.1, by_epoch=False, begin=0, end=4),
            dict(
                type=CosineAnnealingLR,
                T_max=epochs - 1,
                eta_min=1e-5,
                by_epoch=True,
                begin=1,
                end=epochs,
                convert_to_iter_based=epochs > 3,
            ),
        ]

    return change


def test_rates_of_an_extended_run_are_those_of_a_run_as_long_from_the_beginning(train):
    whole = train(change=chained(5), work="whole")
    first = train(change=chained(2))
    rates = train(change=chained(5), extend=True)
    assert sorted(first) + sorted(rates) == sorted(whole)
    assert first[8] != whole[8]
    for step, values in rates.items():
        assert values == pytest.approx(whole[step], rel=1e-9), step


def test_a_shorter_schedule_ends_where_it_says_and_not_before_what_is_done(train):
    train(stop_after=8, change=length(4))
    with pytest.raises(ValueError, match="iter_6.pth: has 6 iterations behind it, more than the 5"):
        train(change=length(1), extend=True)
    rates = train(change=length(2), extend=True)
    assert sorted(rates) == [6, 7, 8, 9]
    assert max(rates[9]) == pytest.approx(closed_form(9, 10, 3, 1e-2), rel=1e-12)

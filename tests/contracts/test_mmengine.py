"""MMEngine's loops, hooks and runner, and ours in their place."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler, pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler

from mae_bench.training import ResumableEpochLoop, ResumableIterLoop
from mae_bench.training.hooks import SaveCheckpoint, WeightAverage
from mae_bench.training.hooks.saving import AtomicBackend
from mae_bench.training.runner import TrainRunner

from .promises import Promise, StandIn, check, error, every_promise

SAMPLES, BATCH = 10, 2


class Numbers(Dataset):
    """Samples of any kind, each of them its own number."""

    metainfo = dict(classes=("a", "b"))

    def __init__(self, kind: str = "dict", pipeline: Any = None) -> None:
        self.kind, self.pipeline = kind, pipeline or (lambda value: value)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        value = torch.tensor([float(self.pipeline(index))])
        labels = dict(
            dict={},
            tensor=dict(data_samples=value),
            list=dict(data_samples=[BaseDataElement(), BaseDataElement()]),
            element=dict(data_samples=BaseDataElement()),
        )
        return (value, index) if self.kind == "tuple" else dict(inputs=value, **labels[self.kind])


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        yield from (dict(inputs=torch.tensor([float(i)])) for i in range(SAMPLES))

    def __len__(self) -> int:
        return SAMPLES


def only_inputs(samples: list[dict]) -> dict:
    """A collate function with keys of its own."""
    return dict(pixels=torch.stack([sample["inputs"] for sample in samples]))


class Model(BaseModel):
    """Keeps what it is trained on, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen: list[float] = []

    def train_step(self, data: Any, optim_wrapper: Any) -> dict:
        inputs = data if isinstance(data, (list, tuple)) else next(iter(data.values()))
        inputs = inputs[0] if isinstance(data, (list, tuple)) else inputs
        values = inputs if isinstance(inputs, torch.Tensor) else torch.stack(list(inputs))
        self.seen += values.flatten().tolist()
        loss = (self.weight * values.mean()).sum()
        optim_wrapper.update_params(loss)
        return dict(loss=loss)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        return [self.weight.item()]


class Weight(BaseMetric):
    default_prefix = "w"

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.extend(data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(weight=results[0])


class Calls(Hook):
    """Every call of a hook, with where the run is and the keys of the batch."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.log: list[tuple] = []

    def _note(self, name: str, runner: Runner, batch_idx: Any = None, batch: Any = None) -> None:
        keys = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
        self.log.append((name, runner.epoch, runner.iter, batch_idx, keys))

    def before_train(self, runner: Runner) -> None:
        self._note("before_train", runner)

    def after_train(self, runner: Runner) -> None:
        self._note("after_train", runner)

    def before_train_epoch(self, runner: Runner) -> None:
        self._note("before_train_epoch", runner)

    def after_train_epoch(self, runner: Runner) -> None:
        self._note("after_train_epoch", runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        self._note("after_train_iter", runner, batch_idx, data_batch)

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        self._note("after_val_epoch", runner)


def train(loop: type | None, folder: Path, **options: Any) -> tuple[Runner, list[tuple]]:
    """A runner made by arguments, run to its end."""
    calls = Calls()
    by_epoch = loop is None or issubclass(loop, EpochBasedTrainLoop)
    length = dict(max_epochs=2) if by_epoch else dict(max_iters=7, val_interval=3)
    cfg = dict(type=loop or EpochBasedTrainLoop, **length) | options.pop("train_cfg", {})
    dataset = options.pop("dataset", Numbers())
    sampler = dict(type=DefaultSampler if by_epoch else InfiniteSampler, shuffle=True)
    loader = dict(batch_size=BATCH, dataset=dataset, sampler=sampler)
    if "train_dataloader" not in options:
        options["train_dataloader"] = loader | options.pop("loader", {})
    model = Model()
    runner = options.pop("runner", Runner)(
        model=model,
        work_dir=str(folder),
        train_cfg=cfg,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
        val_dataloader=dict(batch_size=5, dataset=Numbers(), sampler=dict(type=DefaultSampler)),
        val_cfg={},
        val_evaluator=[Weight()],
        custom_hooks=[*options.pop("hooks", []), calls],
        default_hooks=dict(logger=None, checkpoint=None) | options.pop("default_hooks", {}),
        randomness=options.pop("randomness", dict(seed=0)),
        experiment_name=f"{folder.parent.name}_{folder.name}",
        log_level="ERROR",
        **options,
    )
    runner.train()
    return runner, calls.log


def order(**options: Any) -> Any:
    """Observe calls of hooks, and samples in the order in which they were trained."""

    def observe(loop: type, folder: Path) -> Any:
        runner, log = train(loop, folder, **{k: v() for k, v in options.items()})
        return log, runner.model.seen

    return observe


def outcome(**options: Any) -> Any:
    """Observe how a run ends that may be refused."""
    return lambda loop, folder: error(lambda: order(**options)(loop, folder))


def loader_object(**options: Any) -> Any:
    return lambda: DataLoader(
        Numbers(), **(dict(batch_size=BATCH, collate_fn=pseudo_collate) | options)
    )


class OddBatches(BatchSampler):
    """A batch sampler of one's own."""


class AddHundred(Hook):
    """Change the pipeline in the middle of a run, as "close mosaic" recipes do."""

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.epoch == 1:
            runner.train_dataloader.dataset.pipeline = lambda value: value + 100


class StopAfter(Hook):
    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        runner.train_loop.stop_training = True


def state(*names: str) -> Any:
    """Observe public attributes of a loop after a run."""

    def observe(loop: type, folder: Path) -> list:
        built = train(loop, folder)[0].train_loop
        return [getattr(built, name) for name in names]

    return observe


def unseeded(loop: type, folder: Path) -> str:
    return error(lambda: train(loop, folder, randomness=dict(seed=None)))


def shuffled(loop: type, folder: Path) -> tuple[int, int]:
    """Samples, and different ones, of PyTorch's own shuffling."""
    loader = loader_object(shuffle=True, drop_last=True)()
    seen = train(loop, folder, train_dataloader=loader)[0].model.seen
    return len(seen), len({*seen})


BOTH = [
    Promise("order of hooks and samples", order()),
    Promise("val_begin and val_interval", order(train_cfg=lambda: dict(val_begin=2,
                                                                       val_interval=2))),
    Promise("dynamic_intervals", order(train_cfg=lambda: dict(dynamic_intervals=[(2, 1)]))),
    Promise("stop_training", order(hooks=lambda: [StopAfter()])),
    Promise("a DataLoader", order(train_dataloader=loader_object())),
    Promise("a DataLoader of one's own batches", order(train_dataloader=lambda: DataLoader(
        Numbers(), batch_sampler=OddBatches(range(SAMPLES), 3, False),
        collate_fn=pseudo_collate))),
    Promise("a DataLoader that shuffles", shuffled),
    Promise("a sampler", order(loader=lambda: dict(sampler=DefaultSampler(range(SAMPLES), True,
                                                                         seed=5)))),
    Promise("collate_fn with keys of its own", order(loader=lambda: dict(
        collate_fn=only_inputs))),
    Promise("a batch_sampler in the config", order(loader=lambda: dict(
        batch_sampler=dict(type=BatchSampler, drop_last=True)))),
    *(
        Promise(f"samples: {kind}", order(dataset=lambda kind=kind: Numbers(kind)))
        for kind in ("tensor", "list", "element", "tuple")
    ),
    Promise("num_batch_per_epoch", order(loader=lambda: dict(num_batch_per_epoch=2))),
    Promise("a run without a seed", unseeded, "ValueError",
            "refused: nothing could be resumed to the bit; MMEngine draws a seed"),
    Promise("an IterableDataset", outcome(train_dataloader=lambda: DataLoader(
                Stream(), batch_size=BATCH, collate_fn=pseudo_collate)), "ValueError",
            "refused: samples are seeded by their index"),
    Promise("a batch_sampler without a sampler", outcome(train_dataloader=lambda: DataLoader(
                Numbers(), batch_sampler=[[0, 1], [2, 3]], collate_fn=pseudo_collate)),
            "ValueError", "refused: its indices have no place in the run to be seeded by"),
]  # fmt: skip


class Inform(Hook):
    """What other hooks read of the checkpoints, at the end."""

    def after_train(self, runner: Runner) -> None:
        info = runner.message_hub.runtime_info
        self.found = [Path(info["last_ckpt"]).name, info.get("keep_ckpt_ids")]


def checkpoints(**options: Any) -> Any:
    """Observe the files, their fields, the message hub and the best one of a hook."""

    def observe(hook: type, folder: Path) -> Any:
        inform = Inform()
        saving = dict(type=hook, interval=1, max_keep_ckpts=2) | options
        train(None, folder, default_hooks=dict(checkpoint=saving), hooks=[inform],
              train_cfg=dict(max_epochs=3))  # fmt: skip
        files = sorted(path.name for path in folder.glob("*.pth"))
        content = torch.load(folder / files[-1], weights_only=False)
        last = Path((folder / "last_checkpoint").read_text()).name
        return files, sorted(content), inform.found, last

    return observe


def build(**options: Any) -> Any:
    return lambda hook, folder: error(lambda: hook(**options))


def average(hook: type, folder: Path) -> Any:
    """The averaged weight in the last checkpoint, and names of the metrics."""
    calls = []

    class Keep(Hook):
        priority = "LOWEST"

        def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
            calls.append(dict(metrics))

    momentum = dict(momentum=0.25) if hook is EMAHook else dict(decay=0.75)
    train(None, folder, default_hooks=dict(checkpoint=dict(type=SaveCheckpoint, interval=1)),
          hooks=[dict(type=hook, **momentum), Keep()])  # fmt: skip
    content = torch.load(folder / "epoch_2.pth", weights_only=False)
    plain = content["ema_state_dict"]["module.weight"].item()
    return content["state_dict"]["weight"].item(), plain, calls[-1]["w/weight"]


def metric_names(hook: type, folder: Path) -> list[str]:
    found: list[str] = []

    class Keep(Hook):
        priority = "LOWEST"

        def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
            found[:] = list(metrics)

    train(None, folder, hooks=[dict(type=hook), Keep()])
    return found


def files_of(backend: type, folder: Path) -> Any:
    built = backend()
    built.put(b"one", folder / "deep" / "a.bin")
    built.put(b"two", folder / "deep" / "a.bin")
    built.put_text("text", folder / "b.txt")
    listed = sorted(built.list_dir_or_file(str(folder), recursive=True))
    return built.get(folder / "deep" / "a.bin"), built.get_text(folder / "b.txt"), listed


def accumulated_rate(runner: type, folder: Path) -> float:
    """Learning rate of a batch of 2, accumulated 4 times, for a base of 2."""
    optim_wrapper = dict(
        type="OptimWrapper", accumulative_counts=4, optimizer=dict(type="SGD", lr=1.0)
    )
    built = runner(
        Model(),
        str(folder),
        train_dataloader=dict(batch_size=2, dataset=Numbers(), sampler=dict(type=DefaultSampler)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=optim_wrapper,
        auto_scale_lr=dict(enable=True, base_batch_size=2),
        default_hooks=dict(checkpoint=None, logger=None),
        log_level="ERROR",
        experiment_name=f"{folder.parent.name}_{folder.name}",
    )
    built.train()
    return built.optim_wrapper.param_groups[0]["lr"]


TABLE = [
    StandIn(
        ResumableEpochLoop,
        EpochBasedTrainLoop,
        [
            *BOTH,
            Promise("a pipeline changed by a hook", order(hooks=lambda: [AddHundred()])),
            Promise("attributes", state("epoch", "iter", "max_epochs", "max_iters",
                                        "val_interval", "val_begin", "stop_training")),
        ],
    ),
    StandIn(
        ResumableIterLoop,
        IterBasedTrainLoop,
        [
            *BOTH,
            Promise("a sampler that ends", order(loader=lambda: dict(
                sampler=dict(type=DefaultSampler, shuffle=True)))),
            Promise("attributes", state("epoch", "iter", "max_epochs", "max_iters",
                                        "val_interval", "val_begin", "fast_forward_on_resume")),
        ],
    ),
    StandIn(
        SaveCheckpoint,
        CheckpointHook,
        [
            Promise("files, fields, message hub", checkpoints()),
            Promise("by iterations", checkpoints(by_epoch=False, interval=4)),
            Promise("save_best", checkpoints(save_best="w/weight", rule="less")),
            Promise("save_last=False", checkpoints(interval=2, save_last=False)),
            Promise("filename_tmpl", checkpoints(filename_tmpl="net_{}.pth")),
            Promise("backend_args", checkpoints(backend_args=dict(backend="local"))),
            Promise("no optimizer", checkpoints(save_optimizer=False)),
            Promise("max_keep_ckpts=1", build(max_keep_ckpts=1), "ValueError",
                    "refused: one checkpoint must be left where the newest is damaged"),
            Promise("another backend", build(backend_args=dict(backend="petrel")), "ValueError",
                    "refused: only a local disk holds whole files or none"),
        ],
    ),
    StandIn(
        WeightAverage,
        EMAHook,
        [
            Promise("average and plain weights in a checkpoint, and what is validated", average),
            Promise("metrics", metric_names, ["w/weight", "w/weight_without_ema"],
                    "both figures, as MAE's Appendix A.2 reports; MMEngine gives the average's"),
        ],
    ),
    StandIn(AtomicBackend, LocalBackend, [Promise("files and folders", files_of)]),
    StandIn(
        TrainRunner,
        Runner,
        [
            Promise("order of hooks and samples",
                    lambda runner, folder: train(None, folder, runner=runner)[1]),
            Promise("auto_scale_lr with accumulation", accumulated_rate, 4.0,
                    "batches accumulated for a step count, as in MAE's code; MMEngine leaves them "
                    "out"),
        ],
    ),
]  # fmt: skip


@every_promise(TABLE)
def test_promise(stand_in, promise, tmp_path, monkeypatch):
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)
    check(stand_in, promise, tmp_path)


class Stop(Hook):
    priority = "LOWEST"

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if runner.iter + 1 == 4:
            raise KeyboardInterrupt


@pytest.mark.parametrize("fast_forward", [False, True])
def test_data_after_a_resume(fast_forward, tmp_path):
    """``fast_forward_on_resume`` begins with the first sample again, as MMEngine's loop does."""
    cfg = dict(fast_forward_on_resume=fast_forward, max_iters=5)
    saving = dict(type=SaveCheckpoint, interval=4, by_epoch=False)
    found = {}
    for loop in (IterBasedTrainLoop, ResumableIterLoop):
        shared = dict(train_cfg=cfg, default_hooks=dict(checkpoint=saving))
        folder = tmp_path / loop.__name__
        with pytest.raises(KeyboardInterrupt):
            train(loop, folder, hooks=[Stop()], **shared)
        runner, _ = train(loop, folder, resume=True, **shared)
        found[loop] = runner.model.seen
    whole = train(ResumableIterLoop, tmp_path / "whole", train_cfg=cfg)[0].model.seen
    assert len(whole) == 10
    assert found[ResumableIterLoop] == (whole[:2] if fast_forward else whole[8:])
    assert found[ResumableIterLoop] == found[IterBasedTrainLoop]


def test_shuffling_is_the_same_after_a_resume(tmp_path):
    """PyTorch's samplers know no epochs: their generators are seeded for each."""

    def loader() -> DataLoader:
        sampler = RandomSampler(range(SAMPLES), generator=torch.Generator())
        return DataLoader(Numbers(), BATCH, sampler=sampler, collate_fn=pseudo_collate)

    saving = dict(checkpoint=dict(type=SaveCheckpoint, interval=1))
    shared = dict(default_hooks=saving, train_cfg=dict(max_epochs=2))
    whole = train(ResumableEpochLoop, tmp_path / "a", train_dataloader=loader(), **shared)[0]
    once = {**shared, "train_cfg": dict(max_epochs=1)}
    first = train(ResumableEpochLoop, tmp_path / "b", train_dataloader=loader(), **once)[0]
    rest = train(
        ResumableEpochLoop, tmp_path / "b", train_dataloader=loader(), resume=True, **shared
    )[0]
    assert first.model.seen + rest.model.seen == whole.model.seen
    assert whole.model.seen[:SAMPLES] != whole.model.seen[SAMPLES:]

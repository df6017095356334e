"""What all benchmarks share: interleaved times, ratios, peak memory, speed limits, tables."""

import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from mae_bench.files import write_json_atomic
from mae_bench.models.kernels.linear import linear

MIB = 2**20
TOLD_FROM = 1.0  # seconds from which on a measurement is told as it comes
BUSY_FROM = 0.2  # cores that other programs use, from which on a machine is busy
OUT_OF_MEMORY = "out of memory"
GPU_LOSS_TOLERANCE = 1e-3  # relative
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

tables: list[dict[str, Any]] = []  # all that were printed, for :func:`write_tables`


class Spread(NamedTuple):
    """A figure over all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Median, least and greatest of at least one value."""
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        """``f"{spread:.2f}"`` is ``"1.48 [1.46-1.49]"``."""
        spec = spec or ".3g"
        return f"{self.median:{spec}} [{self.low:{spec}}-{self.high:{spec}}]"


def interleaved_seconds(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time variants in turn, round by round, so that a drift of the machine's speed hits all alike.

    Args:
        variants: what to time, by name; each call is one measurement.
        rounds: measurements of each variant.
        warm_up: rounds before those, not counted.
        clock: seconds; see :func:`processor_clock`.

    Returns:
        seconds of each round, by name. Every other round runs in reverse order.
    """
    names = list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(warm_up + rounds):
        for name in names if i % 2 == 0 else reversed(names):
            _wait_for_gpu()
            start = clock()
            variants[name]()
            _wait_for_gpu()
            took = clock() - start
            if took >= TOLD_FROM:
                place = f"round {i - warm_up + 1} of {rounds}" if i >= warm_up else "warm-up"
                print(f"  {name}: {took:.2f} s ({place})", file=sys.stderr, flush=True)
            if i >= warm_up:
                seconds[name].append(took)
    return seconds


def loss_tolerance(on_a_cpu: float) -> float:
    """Relative difference of losses that are equal, from that on a CPU.

    PyTorch has convolutions in TF32 on a GPU, with 10 bits, and products in float32: a patch
    embedding then depends on which of the two it is.
    """
    return max(on_a_cpu, GPU_LOSS_TOLERANCE) if torch.cuda.is_available() else on_a_cpu


def processor_clock() -> Callable[[], float]:
    """Clock that other programs hardly lengthen: seconds that this process computes.

    It sees neither worker processes nor a GPU; where there is a GPU it is the wall clock. PyTorch
    is held to one thread: several wait for each other where others use the cores, and their waiting
    would be counted.
    """
    if torch.cuda.is_available():
        return time.perf_counter
    torch.set_num_threads(1)
    return time.process_time


def speed_up(seconds: Mapping[str, Sequence[float]], of: str, over: str) -> Spread:
    """How many times faster ``of`` is than ``over``, round by round."""
    return Spread.of(b / a for a, b in zip(seconds[of], seconds[over], strict=True))


def count_gflops(step: Callable[[], object]) -> float:
    """Operations of a step in 10^9, a multiply-add counting as two; AdamW's are not counted."""
    # here and below: what all processes import is to be light
    from mae_bench.training.hooks.run_card import CPU_KERNELS

    with FlopCounterMode(display=False, custom_mapping=CPU_KERNELS) as counter:
        step()
    return counter.get_total_flops() / 1e9


def utilisation(gflops: float, seconds: float, dtype: str) -> float | None:
    """MFU: share of the GPU's speed by its data sheet; None for a CPU or a GPU not listed.

    Args:
        gflops: operations in 10^9.
        seconds: that they took.
        dtype: a key of :data:`DTYPES`.
    """
    if not torch.cuda.is_available():
        return None
    from mae_bench.training.gpus import gpu_of_device

    gpu = gpu_of_device(torch.cuda.get_device_name())
    if gpu is None:
        return None
    return gflops / seconds / 1e3 / (gpu.single if dtype == "float32" else gpu.mixed)


def matrix_product_gflops(
    dtype: torch.dtype,
    size: int | None = None,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Speed of square matrix products, GFLOP/s: what the machine reaches at best.

    On a CPU PyTorch has two libraries for it, MKL and oneDNN. Which one is faster depends on the
    processor, and the faster one counts.

    Args:
        dtype: of the matrices.
        size: their side; None: large enough that a GPU's start of a product does not count.
        rounds: products timed after one that is not; the median counts.
        clock: as of :func:`interleaved_seconds`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = size or (8192 if device == "cuda" else 2048)
    a, b = torch.rand(2, size, size, device=device).to(dtype)
    products = {"PyTorch's": lambda: a @ b, "ours": lambda: linear(a, b)}
    with torch.inference_mode():
        times = interleaved_seconds(products, rounds, clock=clock).values()
    return 2 * size**3 / min(map(statistics.median, times)) / 1e9


def peak_memory(build: Callable[..., Callable[[], object]], *args: object) -> float:
    """Memory that one call needs at its peak, in MiB.

    Args:
        build: a function of a module (a child process imports it) that prepares what is measured
            and returns the call to measure.
        args: of ``build``, picklable.

    Returns:
        on a CPU the growth of the resident set by the call in a fresh process (Linux only: the
        kernel keeps the peak); where ``build`` used a GPU all that is allocated there, with the
        weights.

    Raises:
        torch.OutOfMemoryError: it does not fit the GPU.
        RuntimeError: the child failed; what it said is above.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure_peak, args=(sender, build, args))
    child.start()
    sender.close()
    try:
        peak = receiver.recv()
        if peak is None:
            raise torch.OutOfMemoryError(f"{build.__name__}{args} does not fit the GPU")
        print(f"  peak memory of a call: {peak:.0f} MiB", file=sys.stderr, flush=True)
        return peak
    except EOFError:
        raise RuntimeError(f"{build.__name__} failed in its process, see above") from None
    finally:
        child.join()


def peak_memories(
    build: Callable[..., Callable[[], object]], variants: Iterable[str], *args: object
) -> tuple[dict[str, float], list[str]]:
    """Peaks of ``build(variant, *args)`` of those variants that fit, and those that do not.

    Raises:
        torch.OutOfMemoryError: none fits.
    """
    peaks, too_large = {}, []
    for variant in variants:
        try:
            peaks[variant] = peak_memory(build, variant, *args)
        except torch.OutOfMemoryError:
            too_large.append(variant)
    if not peaks:
        raise torch.OutOfMemoryError(f"none of {', '.join(too_large)} fits the GPU")
    return peaks, too_large


def _measure_peak(sender, build: Callable[..., Callable[[], object]], args: tuple) -> None:
    try:
        sender.send(peak_of_call(build, args))
    except torch.OutOfMemoryError:
        sender.send(None)


def peak_of_call(build: Callable[..., Callable[[], object]], args: tuple) -> float:
    """What :func:`peak_memory` says, of a call in this process."""
    call = build(*args)
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / MIB
    # Not getrusage: its peak includes what the parent held at the fork, and cannot be reset.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_kib("VmRSS")
    call()
    return (resident_kib("VmHWM") - before) / 1024


def resident_kib(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field)))


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def describe_machine() -> str:
    """Lines for the head of a benchmark's output: processor or GPU, threads, PyTorch.

    A second line warns where other programs are using the processor.
    """
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} threads"
    lines = [f"{device}, PyTorch {torch.__version__}"]
    busy = busy_cores()
    if busy >= BUSY_FROM:
        lines.append(
            f"WARNING: other programs use {busy:.1f} of {os.cpu_count()} cores, which makes all "
            "times longer and some ratios wrong: measure on an idle machine"
        )
    return "\n".join(lines)


def busy_cores(seconds: float = 0.5) -> float:
    """Cores that are in use while this process waits; 0 where the system does not say (no Linux).

    Args:
        seconds: to wait.
    """
    before = _processor_seconds()
    time.sleep(seconds)
    return max(0.0, _processor_seconds() - before) / seconds


def _processor_seconds() -> float:
    """What all programs together have computed since the start of the machine."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    _, user, nice, system, *_ = stat.read_text().split("\n", 1)[0].split()
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")


def shown(cell: object) -> str:
    """A cell as it is printed: three significant digits, or all of a whole number."""
    if isinstance(cell, Spread):
        return f"{shown(cell.median)} [{shown(cell.low)}-{shown(cell.high)}]"
    if isinstance(cell, float) and math.isfinite(cell) and cell:
        return f"{cell:.2e}" if abs(cell) < 1e-3 else f"{cell:.{_decimals(cell)}f}"
    return "-" if cell is None else str(cell)


def _decimals(value: float) -> int:
    return max(0, 2 - math.floor(math.log10(abs(value))))


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None
) -> None:
    """Print rows as a Markdown table, each one as soon as it is made, and keep them.

    Args:
        header: names of the columns.
        rows: cells are text, numbers, :class:`Spread`, or None where there is no value.
        title: printed above.
    """
    if title:
        print(f"\n{title}\n", flush=True)
    kept: list[list[object]] = []
    tables.append(dict(title=title, header=list(header), rows=kept))
    for line in (header, ["---"] * len(header)):
        print(f"| {' | '.join(line)} |", flush=True)
    for row in rows:
        kept.append([cell._asdict() if isinstance(cell, Spread) else cell for cell in row])
        print(f"| {' | '.join(map(shown, row))} |", flush=True)


def write_tables(path: str | Path) -> None:
    """Write what was printed as JSON, numbers unrounded, a :class:`Spread` by its three names."""
    write_json_atomic(dict(machine=describe_machine(), tables=tables), path)

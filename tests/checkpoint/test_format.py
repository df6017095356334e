"""The checkpoint format: what is written is read back, and bad files are refused in one line."""

import argparse
import hashlib
import json
import os
import runpy
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mae_bench import files
from mae_bench.checkpoint.format import (
    CheckpointMetadata,
    CheckpointSource,
    load_checkpoint,
    read_metadata,
    save_checkpoint,
)
from mae_bench.checkpoint.reader import read_checkpoint

TOOL = Path(__file__).parents[2] / "tools" / "inspect_checkpoint.py"


def make_metadata(**changes) -> CheckpointMetadata:
    """Metadata of a tiny ViT."""
    values = dict(
        architecture={"arch": "tiny", "img_size": (32, 48), "patch_size": 16},
        img_size=(32, 48),
        patch_size=16,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        method="mae",
        data="miniworld",
        epochs=3,
        source=CheckpointSource("old.pth", "0" * 64, "official_mae"),
    )
    return CheckpointMetadata(**{**values, **changes})


def make_tensors() -> dict[str, torch.Tensor]:
    """One tensor for each thing that could go wrong in writing."""
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(6, 4, generator=generator)
    return {
        "norm.weight": whole[1:3],
        "norm.bias": whole[1:3],  # memory shared with the one before
        "patch_embed.proj.weight": whole.T,  # not contiguous
        "blocks.0.attn.qkv.bias": torch.randn(5, generator=generator).bfloat16(),
        "decoder.mask_token": torch.randn(1, 1, 2, generator=generator).double(),
        "head.bn.num_batches_tracked": torch.tensor(7),
    }


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "new" / "c.safetensors"
    save_checkpoint(path, make_tensors(), make_metadata())
    return path


def rewrite_metadata(path: Path, text: str | None) -> None:
    """Replace our block in a good file."""
    save_file(load_file(path), path, None if text is None else {"mae_bench": text})


def test_round_trip_is_bit_exact(saved):
    tensors, metadata = load_checkpoint(saved)
    expected = make_tensors()
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name]), name
    assert metadata == make_metadata() == read_metadata(saved)
    assert metadata.grid == (2, 3)
    assert metadata.source.converter == "official_mae"


def test_other_readers_see_tensors_and_json(saved):
    """The layout on disk, read by hand: header length, JSON header, then the data."""
    data = saved.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    block = json.loads(header["__metadata__"]["mae_bench"])
    assert block["format_version"] == 2
    assert block["img_size"] == [32, 48] and block["patch_size"] == 16
    assert block["mean"] == [123.675, 116.28, 103.53]
    assert block["source"]["file_name"] == "old.pth"
    assert header["decoder.mask_token"]["shape"] == [1, 1, 2]
    assert torch.equal(load_file(saved)["norm.weight"], make_tensors()["norm.weight"])


def test_equal_checkpoints_have_equal_sums_in_every_process(saved, tmp_path):
    """safetensors orders its metadata keys at random per process; ours must not depend on it."""
    code = (
        "import sys; from mae_bench.checkpoint.format import *; "
        "save_checkpoint(sys.argv[1], *load_checkpoint(sys.argv[2]))"
    )
    again = tmp_path / "again.safetensors"
    subprocess.run([sys.executable, "-c", code, str(again), str(saved)], check=True)
    assert files.sha256_of(again) == hashlib.sha256(saved.read_bytes()).hexdigest()


def test_reading_metadata_loads_no_tensor(saved):
    data = bytearray(saved.read_bytes())
    data[-64:] = b"\xff" * 64  # in the tensors, which only load_checkpoint may notice
    saved.write_bytes(data)
    assert read_metadata(saved).data == "miniworld"
    with pytest.raises(ValueError, match="does not fit the digest"):
        load_checkpoint(saved)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_tensors_are_mapped_from_the_file_not_copied(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(
        path, {f"blocks.{i}.norm1.weight": torch.ones(9999) for i in range(3)}, make_metadata()
    )
    tensors, _ = load_checkpoint(path)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [entry[0].split("-") for entry in maps if entry[-1] == str(path)]
    for tensor in tensors.values():
        assert any(int(a, 16) <= tensor.data_ptr() < int(b, 16) for a, b in ranges)


def test_files_of_version_1_are_read(saved):
    """They knew no other order of channels than RGB."""
    block = json.loads(make_metadata().to_json())
    del block["channel_order"]
    rewrite_metadata(saved, json.dumps({**block, "format_version": 1}))
    assert read_metadata(saved) == make_metadata()


def test_failed_save_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(saved, {"norm.weight": torch.ones(2)}, make_metadata())
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_save_syncs_before_it_replaces(saved, monkeypatch):
    calls = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (calls.append(self.parent), replace(self, to))
    )
    save_checkpoint(saved, make_tensors(), make_metadata())
    assert calls == ["fsync", saved.parent, "fsync"]  # the content, then the folder


def test_permissions_follow_the_umask(saved):
    """Others on a cluster can read a checkpoint as they can any other file."""
    other = saved.with_name("other")
    other.touch()
    assert saved.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_is_neither_written_nor_read(tmp_path, value):
    path = tmp_path / "c.safetensors"
    tensors = {"cls_token": torch.zeros(2), "norm.bias": torch.tensor([0.0, value])}
    with pytest.raises(ValueError, match=r"c\.safetensors: tensor norm\.bias holds NaN"):
        save_checkpoint(path, tensors, make_metadata())
    assert not path.exists()
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"c\.safetensors: tensor norm\.bias holds NaN"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "tensors", "match"),
    [
        ("c.pth", {"norm.bias": torch.ones(1)}, r"c\.pth: .* ends in \.safetensors"),
        ("c.safetensors", {}, r"c\.safetensors: no tensors"),
    ],
)
def test_save_refuses(tmp_path, name, tensors, match):
    with pytest.raises(ValueError, match=match):
        save_checkpoint(tmp_path / name, tensors, make_metadata())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(mean=(0.485,) * 3, std=(0.229,) * 3), "scale 0..255"),
        (dict(mean=(1.0, 2.0)), "one value per channel"),
        (dict(architecture={"arch": torch.nn.Linear}), "architecture: not a dict of JSON values"),
        (dict(img_size=(32, 32, 3)), "img_size"),
        (dict(patch_size=64), "patch_size=64"),
        (dict(architecture={"in_channels": 1}), "is of 3 channels, the model takes 1"),
        (dict(architecture={"arch": dict(embed_dim=48, num_heads=5)}), "num_heads=5 does not"),
        (dict(architecture={"arch": dict(embed_dim=48, num_heads=-4)}), "num_heads=-4 does not"),
        (dict(channel_order="gbr"), "channel_order='gbr' is not one of"),
    ],
)
def test_metadata_refuses(changes, match):
    with pytest.raises(ValueError, match=match):
        make_metadata(**changes)


def write_bad(kind: str, saved: Path) -> Path:
    """Make one kind of bad file out of a good one."""
    block = json.loads(make_metadata().to_json())
    if kind == "missing":
        saved.unlink()
    elif kind == "folder":
        return saved.parent
    elif kind == "empty":
        saved.write_bytes(b"")
    elif kind == "truncated data":
        saved.write_bytes(saved.read_bytes()[:-5])
    elif kind == "truncated header":
        saved.write_bytes(saved.read_bytes()[:100])
    elif kind == "text":
        saved.write_text("<html>404 Not Found</html>")
    elif kind == "no metadata":
        rewrite_metadata(saved, None)
    elif kind == "not JSON":
        rewrite_metadata(saved, "mae")
    elif kind == "newer":
        rewrite_metadata(saved, json.dumps({**block, "format_version": 99, "licence": "x"}))
    elif kind == "key missing":
        del block["method"]
        rewrite_metadata(saved, json.dumps(block))
    elif kind == "key unknown":
        rewrite_metadata(saved, json.dumps({**block, "metod": "mae"}))
    elif kind == "wrong type":
        rewrite_metadata(saved, json.dumps({**block, "mean": None}))
    return saved


BAD_FILES = {
    "missing": (FileNotFoundError, "no such checkpoint"),
    "folder": (ValueError, "is a folder"),
    "empty": (ValueError, "is empty; fetch or write it again"),
    "truncated data": (ValueError, "truncated"),
    "truncated header": (ValueError, "truncated"),
    "text": (ValueError, "not a safetensors file"),
    "no metadata": (ValueError, "without the metadata of mae_bench"),
    "not JSON": (ValueError, "not a JSON object"),
    "newer": (ValueError, "format_version 99 is not one of 1 to 2"),
    "key missing": (ValueError, r"lacks \['method'\]"),
    "key unknown": (ValueError, r"unknown keys \['metod'\]"),
    "wrong type": (ValueError, "wrong type"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_refused_in_one_line(saved, kind):
    path = write_bad(kind, saved)
    error, match = BAD_FILES[kind]
    for read in (load_checkpoint, read_metadata):
        with pytest.raises(error, match=match) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_that_would_run_code_does_not(tmp_path, legacy):
    path, target = tmp_path / "c.pth", tmp_path / "executed"
    content = {"norm.weight": torch.ones(2), "x": Bomb(target)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"c\.pth: holds more than tensors \(.*mkdir\)"):
        read_checkpoint(path)
    assert not target.exists()
    # The bomb is a live one: an ordinary load sets it off.
    torch.load(path, weights_only=False)
    assert target.exists()


@pytest.mark.parametrize("wrap", [None, "model", "state_dict"])
def test_plain_torch_file(tmp_path, wrap):
    path = tmp_path / "c.pth"
    state = {"norm.weight": torch.tensor([1.0, 2.0])}
    torch.save(state if wrap is None else {wrap: state, "epoch": 3}, path)
    read = read_checkpoint(path)
    assert read.stated is None
    assert list(read.stored) == ["norm.weight"]
    assert torch.equal(read.stored["norm.weight"], state["norm.weight"])
    with pytest.raises(ValueError, match="has no metadata"):
        load_checkpoint(path)


def test_plain_safetensors_under_any_suffix(tmp_path):
    path = tmp_path / "c.bin"
    save_file({"norm.weight": torch.tensor([1.0, 2.0])}, path, {"format": "pt"})
    read = read_checkpoint(path)
    assert read.stated is None and read.stored["norm.weight"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({3: torch.ones(1)}, "no tensors by name"),
        ({"epoch": 3, "meta": {"model": "x"}}, "no tensors by name"),
        ({"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}}, "holds tensors in a, b: .* --key"),
        ([torch.ones(1)], "holds a list"),
        ({}, "no tensors"),
    ],
)
def test_torch_files_of_other_contents_are_refused(tmp_path, content, match):
    path = tmp_path / "c.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"c\.pth: {match}"):
        read_checkpoint(path)


@pytest.mark.parametrize("cut", [200, 20, 1])
def test_truncated_torch_file(tmp_path, cut):
    path = tmp_path / "c.pth"
    torch.save({"norm.weight": torch.ones(500)}, path)
    path.write_bytes(path.read_bytes()[:-cut] if cut > 1 else b"\x80\x02}")
    with pytest.raises(ValueError, match=r"c\.pth: truncated") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def inspect(monkeypatch, capsys):
    """Run the command on a file; returns exit code, standard output and standard error."""

    def run(path: Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(TOOL), str(path)])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(TOOL), run_name="__main__")
        return caught.value.code, *capsys.readouterr()

    return run


def test_inspect_shows_what_is_in_a_file(saved, inspect):
    tensors = {
        "patch_embed.proj.weight": torch.ones(8, 3, 16, 16),
        **{f"blocks.{i}.norm1.weight": torch.ones(8).half() for i in range(5)},
    }
    save_checkpoint(saved, tensors, make_metadata())
    code, output, error = inspect(saved)
    assert (code, error) == (0, "")
    rows = {" ".join(line.split()) for line in output.splitlines()}
    assert "blocks.*.norm1.weight (8,) float16 5" in rows
    assert "seen in shapes embed_dim=8, in_channels=3, patch_size=16, depth=5" in rows
    assert "tensors 6, 6,184 parameters" in rows  # 8 * 3 * 16 * 16 + 5 * 8
    assert "image size [32, 48], patches of 16 pixels" in rows
    assert f"SHA-256 {hashlib.sha256(saved.read_bytes()).hexdigest()}" in rows
    assert any("converter=official_mae" in row for row in rows)


def test_inspect_refuses_in_one_line(saved, inspect):
    saved.write_bytes(b"")
    message = f"error: {saved}: the file is empty; fetch or write it again\n"
    assert inspect(saved) == (2, "", message)


def test_inspect_names_a_foreign_format(tmp_path, inspect):
    """A MoCo v3 file of the shapes of its ViT-S: 12 heads, which only the format tells."""
    path = tmp_path / "vit-s-300ep.pth.tar"
    base = "module.base_encoder."
    tensors = {
        f"{base}cls_token": torch.ones(1, 1, 384),
        f"{base}pos_embed": torch.ones(1, 197, 384),
        f"{base}patch_embed.proj.weight": torch.ones(384, 3, 16, 16),
        **{f"{base}blocks.{i}.norm1.weight": torch.ones(384) for i in range(12)},
        "module.predictor.0.weight": torch.ones(2),
    }
    torch.save({"epoch": 300, "state_dict": tensors, "args": argparse.Namespace(lr=1)}, path)
    code, output, error = inspect(path)
    assert (code, error) == (0, "")
    rows = {" ".join(line.split()) for line in output.splitlines()}
    assert "format moco_v3" in rows
    shapes = "embed_dim=384, in_channels=3, patch_size=16, depth=12, img_size=224"
    assert f"seen in shapes {shapes}" in rows
    assert "heads 12, by width" in rows
    assert "left out module.predictor.0.weight" in rows
    assert "module.base_encoder.blocks.*.norm1.weight (384,) float32 12" in rows


def test_inspect_counts_blocks_of_flax_together(tmp_path, inspect):
    path = tmp_path / "c.npz"
    norm = "Transformer/encoderblock_{}/LayerNorm_{}/scale"
    names = [norm.format(block, kind) for block in range(12) for kind in (0, 2)]
    np.savez(path, **{name: np.ones(8, dtype=np.float32) for name in names})
    rows = {" ".join(line.split()) for line in inspect(path)[1].splitlines()}
    for kind in (0, 2):
        assert f"Transformer/encoderblock_*/LayerNorm_{kind}/scale (8,) float32 12" in rows


def test_inspect_says_where_names_do_not_tell(tmp_path, inspect):
    path = tmp_path / "c.safetensors"
    tensors = {
        "patch_embed.proj.weight": torch.ones(8, 3, 4, 4),
        "norm.weight": torch.ones(8),
        "pos_embed": torch.ones(1, 5, 8),
        "blocks.0.attn.qkv.weight": torch.ones(24, 8),
        "blocks.0.attn.qkv.bias": torch.ones(24),
    }
    save_file(tensors, path)
    rows = {" ".join(line.split()) for line in inspect(path)[1].splitlines()}
    assert "format timm" in rows
    assert "method unknown" in rows
    assert "seen in shapes embed_dim=8, in_channels=3, patch_size=4, depth=1, img_size=8" in rows
    save_file({"stem.0.weight": torch.ones(8, 3, 4, 4)}, path)
    rows = {" ".join(line.split()) for line in inspect(path)[1].splitlines()}
    assert {"format unknown", "seen in shapes no ViT"} <= rows

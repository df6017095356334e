"""Records survive the disk, and everything else is refused by name."""

import hashlib
import json
import math
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mae_bench.files import sha256_of
from mae_bench.results import Record, read_record, write_record
from mae_bench.results.environment import git_revision, package_versions, peak_memory_mib
from mae_bench.results.labels import Labels, run_labels
from mae_bench.results.record import config_sha256

pytestmark = pytest.mark.faults

REPOSITORY = Path(__file__).resolve().parents[2]


def content(path: Path) -> dict:
    """What a record says, to be changed by whoever leaves out the digest."""
    data = json.loads(path.read_text())
    del data["digest"]
    return data


def test_what_is_written_is_read(record, tmp_path):
    path = write_record(record, tmp_path / "deep" / "record.json")
    assert read_record(path) == record
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]
    data = json.loads(path.read_text())
    assert data["schema_version"] == 3
    assert data["metrics"] == {"accuracy/top1": 61.5}


def test_documentation_lists_every_key(record, tmp_path):
    data = json.loads(write_record(record, tmp_path / "record.json").read_text())
    table = (REPOSITORY / "docs" / "records.md").read_text().split("|---|---|---|")[1]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    assert {key for cell in cells for key in re.findall(r"`(\w+)`", cell)} == set(data)


def test_number_that_is_not_finite_is_null_in_the_file_and_nan_here(record, tmp_path):
    diverged = replace(record, metrics={"loss": math.nan, "norm": math.inf, "top1": 3})
    path = write_record(diverged, tmp_path / "record.json")
    assert json.loads(path.read_text())["metrics"] == {"loss": None, "norm": None, "top1": 3.0}
    metrics = read_record(path).metrics
    assert math.isnan(metrics["loss"])
    assert math.isnan(metrics["norm"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema_version", 4, "key 'schema_version' is 4"),
        ("colour", "red", "unknown key 'colour'"),
        ("task", None, "key 'task' is NoneType, not str"),
        ("seed", True, "key 'seed' is bool"),
        ("seed", "0", "key 'seed' is str, not int or NoneType"),
        ("metrics", {"top1": "61"}, "key 'metrics.top1' is '61', not a number"),
        ("checkpoint", {"file": "a", "report": None}, "key 'checkpoint.sha256' is missing"),
        ("duration_seconds", -7195.0, "key 'duration_seconds' is -7195.0, which it cannot be"),
        ("peak_memory_mib", -1, "key 'peak_memory_mib' is -1, which it cannot be"),
        ("metrics", {"top1": [61]}, "key 'metrics.top1' is [61], not a number"),
        ("started", "yesterday", "key 'started' is no ISO 8601 time"),
        ("status", "fine", "key 'status' is 'fine'"),
        ("cells", ["Table 4"], "key 'cells.0.table' is missing or no text"),
        ("exported", {"file": "a"}, "key 'exported.sha256' is missing"),
        (
            "exported",
            {"file": "a", "sha256": "b", "kept": [{"file": "c"}]},
            "key 'exported.kept.0.sha256' is missing",
        ),
    ],
)
def test_wrong_value_is_named_with_its_file(record, tmp_path, key, value, message):
    path = write_record(record, tmp_path / "record.json")
    path.write_text(json.dumps(content(path) | {key: value}))
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        read_record(path)


def test_record_of_version_1_is_read(record, tmp_path):
    path = write_record(record, tmp_path / "record.json")
    data = content(path)
    assert data["schema_version"] == 3
    old = {k: v for k, v in data.items() if k not in ("cells", "model", "data", "exported")}
    path.write_text(json.dumps(old | {"schema_version": 1}))
    assert read_record(path) == replace(record, cells=[], exported=None)
    # what version 1 had is as required as ever
    del old["seed"]
    path.write_text(json.dumps(old | {"schema_version": 1}))
    with pytest.raises(ValueError, match="key 'seed' is missing"):
        read_record(path)


def test_record_of_version_2_is_read_and_claims_nothing(record, tmp_path):
    path = write_record(record, tmp_path / "record.json")
    data = content(path)
    old = {k: v for k, v in data.items() if k not in ("cells", "model", "data")}
    old["reproduces"] = [{"table": "Table 4", "column": "APbox ViT-B", "metric": "coco/bbox_mAP"}]
    path.write_text(json.dumps(old | {"schema_version": 2}))
    assert read_record(path) == replace(record, cells=[])


def test_every_key_is_required(record, tmp_path):
    path = write_record(record, tmp_path / "record.json")
    data = content(path)
    for key in data:
        path.write_text(json.dumps({k: v for k, v in data.items() if k != key}))
        with pytest.raises(ValueError, match=f"'{key}' is missing"):
            read_record(path)


@pytest.mark.parametrize("other", [b"", b"{", b"[]", b'{"loss": 1}', b"\xff\xfe\x00"])
def test_foreign_file_is_refused(tmp_path, other):
    path = tmp_path / "record.json"
    path.write_bytes(other)
    with pytest.raises(
        ValueError, match=rf"^{re.escape(str(path))}: (unreadable|holds list|not a)"
    ):
        read_record(path)


def test_no_flipped_bit_changes_what_a_record_says(record, tmp_path, chance, tally):
    path = write_record(record, tmp_path / "record.json")
    whole = path.read_bytes()
    tally["flipped bits"] = len(whole)
    refused = 0
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            assert read_record(path) == record, position  # in white space
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused > 0.7 * len(whole)


def test_failed_write_leaves_the_old_record(record: Record, tmp_path):
    path = write_record(record, tmp_path / "record.json")
    with pytest.raises(ValueError, match="key 'task' is int"):
        write_record(replace(record, task=3), path)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        write_record(replace(record, run_card={"a": object()}), path)
    assert read_record(path) == record
    assert len(list(tmp_path.iterdir())) == 1


def test_config_hash_follows_values_only(tmp_path):
    base, leaf, flat = tmp_path / "base.py", tmp_path / "leaf.py", tmp_path / "flat.py"
    base.write_text("lr = 1.0\nmodel = dict(a=1, b=(2, 3))\n")
    leaf.write_text(
        "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n"
        "model.update(a=5)\n"
    )
    flat.write_text('"""A comment."""\nmodel = dict(b=(2, 3), a=5)\nlr = 1.0\n')
    assert config_sha256(leaf) == config_sha256(flat)
    assert config_sha256(leaf) != config_sha256(base)
    assert config_sha256(leaf, {"model.a": 1}) == config_sha256(base)
    # what MMEngine cannot merge, and --cfg-options can
    hashes = [config_sha256(base, {"model.b.1": value}) for value in (3, 4, 4)]
    assert hashes[0] != hashes[1] == hashes[2] != config_sha256(base)


def test_file_hash(tmp_path):
    content = b"0123456789" * 300_000  # several blocks
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_labels_come_from_the_suite_or_from_the_names(tmp_path):
    assert run_labels(tmp_path, "configs/a.py") == Labels("a", "random")
    assert run_labels(tmp_path, "configs/a.py", "w/mae.safetensors") == Labels("a", "mae")
    cell = {"table": "T", "row": "MAE", "column": "lin"}
    job = {"task": "linear", "initialisation": "MAE", "cells": [cell]}
    (tmp_path / "job.json").write_text(json.dumps(job))
    labels = run_labels(tmp_path, "configs/a.py", "w/b.safetensors")
    assert labels == Labels("linear", "MAE", [cell])


def test_environment_fields(tmp_path):
    import mmengine
    import torch

    versions = package_versions()
    assert versions["torch"] == torch.__version__.split("+")[0]
    assert versions["mmengine"] == mmengine.__version__
    assert git_revision(tmp_path) is None
    # an environment inside somebody's checkout: that revision is not ours
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=b"]
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed/module.py").touch()
    (tmp_path / "own.py").touch()
    for command in (["init", "-q"], ["add", "own.py"], ["commit", "-qm", "c"]):
        subprocess.run([*git, *command], check=True)
    assert git_revision(tmp_path / "installed") is None
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert git_revision(tmp_path) == head.strip()
    if not torch.cuda.is_available():
        before = peak_memory_mib()
        block = bytearray(b"x") * (200 * 2**20)
        assert len(block) / 2**20 < peak_memory_mib() < before + 2000

"""Files of ours are read whole or refused by name."""

import json
from pathlib import Path

import pytest

from mae_bench.files import read_json, write_atomic, write_json_atomic

pytestmark = pytest.mark.faults


def test_what_was_written_is_read(tmp_path):
    data = {"a": [1, -2.5, None, "é", True], "b": {"c": 10**20}}
    write_json_atomic(data, tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") == data


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"  \n", "it is empty"),
        (b"null", "holds NoneType"),
        (b"[1]", "holds list"),
        (b'{"a": 1', "Expecting"),
        (b'{"a": "\xff"}', "codec can't decode"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": NaN}', "NaN is no finite number"),
        (b'{"a": -Infinity}', "Infinity is no finite number"),
        (b'{"a": 1e999}', "1e999 is no finite number"),
        (b'{"a": ' + b"9" * 400 + b"}", "9999 is no finite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "9999 is no finite number"),
    ],
)
def test_anything_else_is_refused_with_the_name_of_the_file(tmp_path, content, reason):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"x.json: .*{reason}"):
        read_json(path)


def test_one_flipped_byte_never_ends_in_another_error(tmp_path):
    path = tmp_path / "x.json"
    content = bytearray(json.dumps({"a": [1.5, "é"], "b": {"c": None}}).encode())
    for position in range(len(content)):
        for bit in range(8):
            content[position] ^= 1 << bit
            path.write_bytes(content)
            try:
                read_json(path)
            except ValueError as error:
                assert str(error).startswith(f"{path}: ")
            content[position] ^= 1 << bit


def test_a_rename_whose_answer_is_lost_is_one_that_was_made(tmp_path, monkeypatch):
    replace = Path.replace

    def repeated(path, target):
        replace(path, target)
        return replace(path, target)  # as NFS does, where the answer to the first is lost

    monkeypatch.setattr(Path, "replace", repeated)
    write_atomic(b"one", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"one"
    monkeypatch.setattr(Path, "replace", lambda path, target: replace(tmp_path / "none", target))
    with pytest.raises(FileNotFoundError):
        write_atomic(b"two", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

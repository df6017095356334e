"""A screen that cannot show something ends no work and hides no result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

# Prints, then leaves its result, as a command does that writes its files first.
COMMAND = """
from pathlib import Path
from rich.console import Console
from mae_bench.cli.command import run_command
def main():
    for n in range(2000):
        print("± ünï 日本 \\x1b[31m", n)
    Console().print("rich ± table")
    Path("done").write_text("all of it")
    return 0
run_command(main)
"""


def run(tmp_path, redirect: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "command.py").write_text(COMMAND)
    root = str(Path(__file__).parents[2])
    line = f"{sys.executable} command.py {redirect}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, **environment},
        capture_output=True,
        text=True,
        encoding="latin-1",
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding(tmp_path, encoding):
    ended = run(tmp_path, "", PYTHONIOENCODING=encoding)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "done").exists()
    if encoding == "ascii":
        assert "\\xb1 \\xfcn\\xef \\u65e5\\u672c" in ended.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_standard_output(tmp_path):
    ended = run(tmp_path, "> /dev/full")
    assert ended.returncode == 2
    assert ended.stderr == (
        "standard output cannot be written (No space left on device): not all was shown; files "
        "are as they should be\n"
    )
    assert (tmp_path / "done").exists()


def test_a_reader_that_goes_away(tmp_path):
    ended = run(tmp_path, "| head -1")
    assert ended.returncode == 0
    assert "standard output was closed by its reader: not all was shown" in ended.stderr
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_none_at_all(tmp_path, closed):
    ended = run(tmp_path, closed)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "done").exists()


def test_no_standard_error_either(tmp_path):
    ended = run(tmp_path, "2> /dev/full | head -1")
    assert ended.returncode == 0
    assert (tmp_path / "done").exists()

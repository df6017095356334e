"""How a command ends: its code, and what it says on standard error."""

import errno

import cv2
import pytest

from mae_bench.cli.command import run_command
from mae_bench.datasets.reading import BrokenImage
from mae_bench.files import DiskFull


def run(main, capsys) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    return ended.value.code, capsys.readouterr().err.splitlines()


def fail(error: BaseException):
    def main() -> None:
        raise error

    return main


@pytest.fixture(autouse=True)
def no_traceback(monkeypatch):
    monkeypatch.delenv("MAE_BENCH_TRACEBACK", raising=False)


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_code_of_main(returned, code, capsys):
    assert run(lambda: returned, capsys) == (code, [])


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError])
def test_a_mistake_is_one_line(kind, capsys):
    assert run(fail(kind("a.py: key 'x'\n   is missing")), capsys) == (
        2,
        ["error: a.py: key 'x' is missing"],
    )


def test_a_surprise_says_where(capsys):
    code, lines = run(fail(RuntimeError("out of luck")), capsys)
    assert code == 2
    assert lines[0] == "error: RuntimeError: out of luck"
    assert lines[1].startswith("  where: test_command.py:")
    assert len(lines) == 2


@pytest.mark.parametrize(
    "error",
    [
        DiskFull.at("a/b.pth", "12 bytes"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "log.json"),
    ],
)
def test_a_full_disk_has_a_code_of_its_own(error, capsys):
    code, lines = run(fail(error), capsys)
    assert code == 75 and len(lines) == 1


def test_no_control_character_of_a_file_reaches_the_terminal(capsys):
    assert run(fail(ValueError("c.pth: \x1b[2J")), capsys)[1] == ["error: c.pth: \\x1b[2J"]


def test_an_error_without_words_has_its_name(capsys):
    assert run(fail(ValueError()), capsys)[1] == ["error: ValueError"]


def test_interrupt(capsys):
    assert run(fail(KeyboardInterrupt()), capsys) == (130, ["interrupted"])


def test_error_of_a_worker_process_is_its_last_line(capsys):
    text = (
        "Caught ValueError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n"
        '  File "worker.py", line 3, in loop\n'
        "ValueError: a.JPEG: cannot be decoded\n"
    )
    assert run(fail(ValueError(text)), capsys)[1] == ["error: a.JPEG: cannot be decoded"]


def test_error_of_our_own_of_a_worker_process(capsys):
    text = (
        "Caught BrokenImage in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n"
        "mae_bench.datasets.loading.BrokenImage: a.JPEG: cannot be decoded\n"
    )
    assert run(fail(BrokenImage(text)), capsys)[1] == ["error: a.JPEG: cannot be decoded"]


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv("MAE_BENCH_TRACEBACK", "1")
    with pytest.raises(cv2.error):
        run_command(fail(cv2.error("broken")))

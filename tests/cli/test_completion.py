"""The completion script, in the shell that most people have."""

import shutil
import subprocess

import pytest

from mae_bench.cli.completion import full_parser
from mae_bench.cli.main import find_commands

shtab = pytest.importorskip("shtab")
BASH = shutil.which("bash")
# What bash does when the tab key is pressed at the end of the words that follow.
PRESS_TAB = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p mae-bench | sed 's/.*-F \\([^ ]*\\).*/\\1/') \\
    mae-bench "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    file = tmp_path_factory.mktemp("completion") / "bash"
    file.write_text(shtab.complete(full_parser(), "bash"))
    return file


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_commands_options_choices_and_files_in_bash(script, tmp_path):
    (tmp_path / "mine.pth").touch()

    def press_tab(*words: str) -> set[str]:
        command = [BASH, "--norc", "-c", PRESS_TAB, "bash", script, "mae-bench", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.stderr == ""
        return set(done.stdout.split())

    assert press_tab("") >= {*find_commands()}
    assert press_tab("tr") == {"train"}
    assert press_tab("train", "--l") == {"--launcher", "--logger"}
    assert press_tab("train", "--launcher", "") == {"none", "pytorch", "slurm"}
    assert press_tab("train", "config.py", "--checkpoint", "mi") == {"mine.pth"}
    assert {"imagenet", "coco"} <= press_tab("prepare_data", "")


@pytest.mark.parametrize("shell", ["zsh", "tcsh", "fish"])
def test_other_shells_know_every_command(shell):
    text = shtab.complete(full_parser(), shell)
    assert [name for name in find_commands() if name not in text] == []

"""The host libraries import beside transformers 5, which mmpretrain's own code does not know."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Of what mmpretrain asks for, some has gone from transformers 5: here, nearly all.
PRETENDED = {
    "transformers/__init__.py": "__version__ = '5.24.0'\n",
    "transformers/modeling_utils.py": "class PreTrainedModel: ...\n",
    "transformers-5.24.0.dist-info/METADATA": "Name: transformers\nVersion: 5.24.0\n",
}
CODE = """
import mae_bench
import mmpretrain.models, mmpretrain.datasets
from mae_bench.cli.machine import check_packages
print([check.status for check in check_packages({}) if check.name == "transformers"])
try:
    mmpretrain.models.build_classifier(dict(type="BlipCaption"))
except ImportError as error:
    print(error)
"""


def test_mmpretrain_beside_transformers_5(tmp_path):
    for name, text in PRETENDED.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    paths = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
    command = [sys.executable, "-W", "ignore", "-c", paths + CODE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    status, refused = done.stdout.splitlines()[-2:]
    assert status == "['note']"
    assert "requires extra multi-modal dependencies" in refused


def test_importing_the_package_imports_no_torch():
    code = "import sys, mae_bench; print({'torch', 'numpy', 'mmengine'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr

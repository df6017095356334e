"""A release says one version: in the package, the citation, the changelog and the tag."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import mae_bench

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == mae_bench.__version__
    assert {"cff-version", "title", "message", "authors", "license"} <= citation.keys()


def test_a_tagged_commit_is_the_release_that_it_says():
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    command = ["git", "tag", "--points-at", "HEAD", "v*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    for tag in done.stdout.split():
        assert tag == f"v{mae_bench.__version__}"
        assert headings[0] == mae_bench.__version__

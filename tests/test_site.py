"""The documentation site: every page has its place, and a build says nothing against a page."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mae_bench.cli.main import find_commands

ROOT = Path(__file__).parents[1]
GENERATED = ("tables", "recipes")  # reached by the index of their folder


def pages(nav) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [
        page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages(part)
    ]


def test_every_page_is_in_the_navigation_once():
    nav = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    docs = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    written = {path.as_posix() for path in docs if path.parts[0] not in GENERATED}
    assert sorted(nav) == sorted({*written, "tables/index.md", "recipes/README.md"})
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert [page for page in nav if page != "index.md" and f"]({page})" not in index] == []


def test_every_command_is_on_the_page_of_commands():
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert [name for name in find_commands() if f"`tools/{name}.py" not in page] == []


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text and '<link rel="stylesheet" href="http' not in text
    api = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert ":class:" not in api and ":func:" not in api and ":data:" not in api
    for name in ("load_backbone", "train", "VisionTransformer", "Record"):
        assert f"{name}</code>" in api or f"{name}</span>" in api

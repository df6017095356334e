"""The example that the docs show is the file that the tests run."""

from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_example_is_shown_as_it_is():
    example = (DOCS / "examples/my_backbone.py").read_text()
    assert f"```python\n{example}```\n" in (DOCS / "backbones.md").read_text()

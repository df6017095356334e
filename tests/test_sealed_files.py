"""No flipped bit in what a run, a suite or an evaluation reads again changes what it says."""

import pytest

from mae_bench.files import read_sealed_json, write_sealed_json
from mae_bench.results.table_file import load_suite, read_suite, write_suite
from mae_bench.run_folder import RUN_NAME, SUITE_NAME
from mae_bench.training.resuming import read_run

pytestmark = pytest.mark.faults
SUITE = "{name: s, tasks: {t: {config: t.py}}, columns: {c: {task: t, metric: m}}, rows: {r: {}}}"
RUN = {key: {"a": 1.5} for key in ("settings", "checkpoint", "data")}
RUN |= {"run": "ab", "batch": 1, "threads": 2, "extended": []}


def flipped(path, read, chance):
    """(read, said before) for each flip that is read without an error."""
    whole, said = path.read_bytes(), read(path)
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            yield read(path), said
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("what", ["run", "suite", "any"])
def test_no_flipped_bit_goes_unnoticed(tmp_path, what, chance, tally):
    if what == "run":
        path, read = tmp_path / RUN_NAME, lambda path: read_run(path.parent)
        write_sealed_json(RUN, path)
    elif what == "suite":
        path, read = tmp_path / SUITE_NAME, read_suite
        (tmp_path / "s.yaml").write_text(SUITE)
        write_suite(load_suite(tmp_path / "s.yaml"), tmp_path)
    else:
        path, read = tmp_path / "a.json", read_sealed_json
        write_sealed_json({"parts": {"val": {"hits": 3}}}, path)
    tally["flipped bits"] = path.stat().st_size
    for found, said in flipped(path, read, chance):
        # without its digest a file is read as one of an earlier version, and says the same
        found = {key: found[key] for key in said} if isinstance(said, dict) else found
        assert found == said

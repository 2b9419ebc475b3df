"""The same commands write the same bytes whatever the machine is set to: threads, hash seed, locale, time zone.

That Ray writes what a local run does is in tests/commands/test_backend.py; that a run resumed or run again does, in
tests/empirical/training/test_run.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import ROOT, SWEEP_SPEC, spec_file

SETTINGS = {
    "plain": {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC", "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "other": {
        "PYTHONHASHSEED": "4242",
        "LC_ALL": "de_DE.UTF-8",
        "LANGUAGE": "de",
        "TZ": "Asia/Kathmandu",
        "NUMBA_NUM_THREADS": "2",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "COLUMNS": "40",
        "SOURCE_DATE_EPOCH": "1",
    },
    "ascii": {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "America/St_Johns", "PYTHONUTF8": "0"},
}  # fmt: skip
# One process gives the commands in turn, as imports take longest.
CODE = """
import sys
from verigap.cli import main
for line in sys.argv[1:]:
    sys.argv = ["verigap", *line.split("|")]
    try:
        main()
    except SystemExit as left:
        if left.code:
            raise
"""


def _written(folder: Path, setting: dict[str, str]) -> dict[str, bytes]:
    """What the commands write and print, by name."""
    folder.mkdir()
    spec = spec_file(folder, SWEEP_SPEC)
    out = folder / "out"
    commands = [
        f"simulate|{spec}|--out|{out}|--json",
        f"fit|{out}/runs.csv|--group|arm|--law|power|--out|{out}/fit.json|--figure|{out}/fit.svg",
        f"gap|{out}/runs.csv|--clean|arm=clean|--out|{out}/gaps.json|--figure|{out}/gap.png",
        "drift|--pass-rate|0.3|--fpr|0.1|--fnr|0.2|--group-size|8|--json",
    ]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *commands],
        env=os.environ | setting,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    told = {path.name: path.read_bytes() for path in sorted(out.iterdir())}
    told["last document"] = done.stdout[done.stdout.rindex(b"{") :]
    return {name: raw.replace(str(folder).encode(), b"FOLDER") for name, raw in told.items()}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="environment of Linux")
def test_threads_hash_seed_locale_and_time_zone_change_no_byte(tmp_path: Path) -> None:
    plain = _written(tmp_path / "plain", SETTINGS["plain"])
    assert {"runs.csv", "spec.yaml", "fit.json", "fit.svg", "gap.png"} <= set(plain)
    for name in ("other", "ascii"):
        assert _written(tmp_path / name, SETTINGS[name]) == plain

"""`--backend ray`: the same bytes as `--backend local`, also when a worker is killed in mid-sweep."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from empirical import extras
from empirical.simulate import run_spec
from empirical.simulated_studies import load_spec
from tests.builders import SWEEP_SPEC, kill_one_worker, spec_file
from tests.commands.command import refused, verigap

SMOKE = Path(__file__).parents[2] / "empirical" / "results" / "cpu-smoke"
# Four runs of about a second: long enough to be killed in the middle of.
SWEEP = """
population: {prompts: 400, wrong_modes: 3}
training: {steps: 2000, group_size: 64}
arms: {clean: {}, fp: {fpr: 0.3}}
seeds: [0, 1]
"""


@pytest.mark.usefixtures("ray_of_two")
@pytest.mark.parametrize("workers", [(), ("--workers", 1)])
def test_a_sweep_gives_the_same_bytes_on_ray(tmp_path: Path, workers: tuple[object, ...]) -> None:
    spec = spec_file(tmp_path, SWEEP_SPEC + "n_eval: 64\n")
    for backend in ("local", "ray"):
        out = tmp_path / backend
        done = verigap("simulate", spec, "--out", out, "--backend", backend, *workers, "--json")
        assert done.code == 0, done.err
        assert done.document["runs"] == 12
    for name in ("runs.csv", "spec.yaml"):
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()


@pytest.mark.usefixtures("ray_of_two")
def test_fits_and_their_bootstraps_give_the_same_bytes_on_ray(tmp_path: Path) -> None:
    for backend in ("local", "ray"):
        out = tmp_path / backend
        done = verigap(
            *("fit", SMOKE, "--backend", backend, "--json"),
            *("--out", out / "fit.json", "--figure", out / "fit.png"),
        )
        assert done.code == 0, done.err
        assert len(done.document["curves"]) == 3
    names = sorted(path.name for path in (tmp_path / "local").iterdir())
    assert names == ["fit.csv", "fit.json", "fit.png"]
    for name in names:
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()
    line = refused("fit", SMOKE, "--law", "quadratic", "--backend", "ray")
    assert "--backend ray is for one law per curve" in line


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.usefixtures("ray_of_two")
def test_a_worker_killed_in_mid_sweep_costs_only_time(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, SWEEP)
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_one_worker, args=(killed, over))
    killer.start()
    try:
        done = verigap("simulate", spec, "--out", tmp_path / "ray", "--backend", "ray", "--json")
    finally:
        over.set()
        killer.join()
    assert killed, "no worker was caught in the middle of a run"
    assert done.code == 0, done.err
    assert done.document["runs"] == 4  # what Ray says of the loss is not on stdout
    assert verigap("simulate", spec, "--out", tmp_path / "local", "--json").code == 0
    one, two = (tmp_path / name / "runs.csv" for name in ("ray", "local"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.usefixtures("ray_of_two")
def test_progress_on_ray_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    study = load_spec(spec_file(tmp_path, SWEEP_SPEC))
    run_spec(study, on_ray=True, report=lambda *steps: seen.append(steps))
    assert seen == [(12 * (i + 1), 12 * 12) for i in range(12)]


@pytest.mark.usefixtures("ray_of_two")
def test_a_run_that_diverges_on_a_worker_is_one_line(tmp_path: Path) -> None:
    spec = spec_file(
        tmp_path,
        "population: {prompts: 8}\ntraining: {steps: 5, optimiser: adam, learning_rate: 1.0e+308}\n"
        "arms: {a: {}, b: {}}\nseeds: [0]\n",
    )
    line = refused("simulate", spec, "--out", tmp_path / "out", "--backend", "ray")
    assert "training diverged by step" in line


def test_what_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = ("simulate", spec_file(tmp_path, SWEEP_SPEC), "--out", tmp_path / "out")
    assert "--address is for --backend ray" in refused(*command, "--address", "auto")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    line = refused(*command, "--backend", "ray")
    assert "needs ray, absent here: install the 'cluster' extra" in line
    assert not (tmp_path / "out").exists()


def test_simulating_here_loads_no_ray(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom empirical.simulate import run_spec\nfrom empirical.simulated_studies import load_spec\n"
        "from pathlib import Path\n"
        "run_spec(load_spec(Path(sys.argv[1])))\nassert 'ray' not in sys.modules"
    )
    spec = spec_file(tmp_path, SWEEP_SPEC)
    subprocess.run([sys.executable, "-c", code, str(spec)], check=True)

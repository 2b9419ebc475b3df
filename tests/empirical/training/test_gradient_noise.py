"""Signal and noise of a step's gradient from its micro-batches: unbiased, free, and of whole groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import empirical
from empirical.studies import Study
from empirical.training.folder import RunFolder
from tests.builders import tiny_study

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra"),
]

WEIGHTS = Path(empirical.__file__).parent / "results/cpu-campaign/models/tiny-139k-c1ed1e6831"


@pytest.mark.parametrize(("accumulation", "processes"), [(2, 1), (4, 1), (1, 2), (2, 3)])
def test_both_are_unbiased_however_the_batch_is_split(accumulation: int, processes: int) -> None:
    from empirical.training.gradient_noise import gradient_noise

    rng = np.random.default_rng([accumulation, processes])
    mean, weights, steps = 0.3, 50, 1000
    g = mean + rng.normal(size=(steps, processes, accumulation, 12, weights))
    prompts = 12 * accumulation * processes
    parts = g.mean(axis=3) / accumulation  # as accumulated: they add up to a process's gradient
    norm = np.linalg.norm(parts.sum(axis=2).mean(axis=1), axis=-1)
    squares = (parts**2).sum(axis=(2, 3)).mean(axis=1)
    found = [
        gradient_noise(float(n), float(s), accumulation=accumulation, processes=processes)
        for n, s in zip(norm, squares, strict=True)
    ]
    for values, expected in (
        ([one.signal for one in found if one], weights * mean**2),
        ([one.noise for one in found if one], weights / prompts),
    ):
        assert abs(np.mean(values) - expected) < 4 * np.std(values) / np.sqrt(steps)


def test_a_step_in_one_part_says_nothing() -> None:
    from empirical.training.gradient_noise import gradient_noise

    assert gradient_noise(1.0, 1.0, accumulation=1, processes=1) is None


def test_norms_are_those_of_each_pass_and_leave_gradients_alone() -> None:
    import torch

    from empirical.training.gradient_noise import PartNorms

    torch.manual_seed(0)
    twice = torch.nn.Linear(5, 7)  # used twice, so one gradient is of both uses
    model = torch.nn.Sequential(twice, torch.nn.Tanh(), torch.nn.Linear(7, 5), twice)
    model[2].weight.requires_grad_(False)
    inputs = torch.randn(3, 4, 5)

    def accumulated() -> list[torch.Tensor]:
        model.zero_grad()
        for x in inputs:
            model(x).square().sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    alone = accumulated()
    norms = PartNorms(model)
    watched = accumulated()
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    total = norms.take()
    norms.close()
    weights = [p for p in model.parameters() if p.requires_grad]
    each = [torch.autograd.grad(model(x).square().sum(), weights) for x in inputs]
    expected = sum(float(g.square().sum()) for gradient in each for g in gradient)
    assert total is not None
    assert float(total) == pytest.approx(expected, rel=1e-5)
    accumulated()
    assert norms.take() is None


def test_rows_go_back_to_their_places() -> None:
    import torch

    from empirical.training.gradient_noise import in_order

    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    names = [f"row {i}" for i in order.tolist()]
    batches = [
        {
            "place": order[k : k + 4],
            "rows": torch.stack([order, order + 100], dim=1)[k : k + 4],
            "names": names[k : k + 4],
            "tokens": torch.tensor(7.0),
            "none": None,
        }
        for k in (0, 4, 8)
    ]
    found = in_order(batches)
    assert torch.cat([b["rows"][:, 0] for b in found]).tolist() == list(range(12))
    assert torch.cat([b["rows"][:, 1] for b in found]).tolist() == list(range(100, 112))
    assert [name for b in found for name in b["names"]] == [f"row {i}" for i in range(12)]
    assert all(float(b["tokens"]) == 7.0 and b["none"] is None for b in found)


def test_a_run_in_micro_batches_logs_it_and_trains_the_same(tmp_path: Path) -> None:
    """Two steps in one part and in two: equal but for rounding, and only the second tells noise."""
    rows: list[list[dict[str, object]]] = []
    for accumulation in (1, 2):
        study = tiny_study()
        training = {**study.training.model_dump(), "steps": 2}
        changed = {
            **study.model_dump(mode="json"),
            "training": {**training, "gradient_accumulation": accumulation},
            "evaluation": {"steps": [2], "samples": 8},
        }
        run = Study.model_validate(changed).runs()[0]
        folder = RunFolder(tmp_path / run.run_id)
        folder.create(run, study="test")
        command = [sys.executable, "-m", "empirical.training.run", str(folder.path)]
        command += ["--model", str(WEIGHTS)]
        subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True
        )
        rows.append(folder.rows())
    whole, parts = rows
    assert all(row["gradient_noise"] is None for row in whole)
    train = [row for row in parts if row["kind"] == "train"]
    for one, other in zip(whole, parts, strict=True):
        if one["kind"] == "train":
            assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)
            assert other["gradient_signal"] + other["gradient_noise"] == pytest.approx(
                other["grad_norm"] ** 2
            )
    evaluation = parts[-1]
    assert evaluation["kind"] == "eval"
    for key in ("gradient_signal", "gradient_noise"):
        assert evaluation[key] == pytest.approx(np.mean([row[key] for row in train]))
    json.dumps(parts, allow_nan=False)

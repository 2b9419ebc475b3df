from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from empirical.audit import Audit
from fits.errors import InputError
from tests.builders import audited
from tests.empirical.audit.clustered import beta_rates
from tests.shared_data import shared_data


def table(
    rng: np.random.Generator,
    *,
    prompts: int,
    each: int = 5,
    fpr: float = 0.08,
    fnr: float = 0.12,
    icc: float = 0.3,
    labelled: int | None = None,
) -> pd.DataFrame:
    """Rollouts of prompts; beyond the first `labelled` prompts the truth is empty."""
    prompt = np.repeat(np.arange(prompts), each)
    right = rng.random(len(prompt)) < rng.beta(2, 3, prompts)[prompt]
    error = np.where(
        right,
        beta_rates(rng, fnr, icc, prompts)[prompt],
        beta_rates(rng, fpr, icc, prompts)[prompt],
    )
    paid = right ^ (rng.random(len(prompt)) < error)
    truth: Any = right.astype(object)
    if labelled is not None:
        truth[prompt >= labelled] = ""
    return pd.DataFrame({"prompt": prompt, "truth": truth, "verdict": paid})


def run(frame: pd.DataFrame, **options: Any) -> Audit:
    given = {"truth": "truth", "verdict": "verdict", "cluster": "prompt"} | options
    return audited(frame, **given)


def test_rates_are_those_of_the_table() -> None:
    found = run(table(np.random.default_rng(0), prompts=200))
    frame = table(np.random.default_rng(0), prompts=200)
    right, paid = frame["truth"].astype(bool), frame["verdict"]
    assert found.fpr == pytest.approx(paid[~right].mean())
    assert found.fnr == pytest.approx((~paid[right]).mean())
    assert found.youden == pytest.approx(1 - (found.fpr or 0) - (found.fnr or 0))
    assert found.phi2 == pytest.approx(np.corrcoef(right, paid)[0, 1] ** 2)
    assert found.effective_rollouts == pytest.approx(1 + 7 * (found.phi2 or 0))


def test_flipping_right_and_wrong_and_paid_and_unpaid_swaps_the_errors() -> None:
    frame = table(np.random.default_rng(1), prompts=100)
    flipped = frame.assign(truth=~frame["truth"].astype(bool), verdict=~frame["verdict"])
    one, other = run(frame), run(flipped)
    assert (one.fpr, one.fpr_ci) == (other.fnr, other.fnr_ci)
    assert one.phi2 == pytest.approx(other.phi2)
    assert one.phi2_ci == pytest.approx(other.phi2_ci, abs=1e-9)


def test_within_prompts_the_correlation_is_what_the_population_formula_says() -> None:
    """Independent errors on prompts of pass rates .1 and .7: phi^2 = .383812 (THEORY section 8)."""
    rng = np.random.default_rng(2)
    prompt = np.repeat(np.arange(4000), 8)
    right = rng.random(len(prompt)) < np.where(prompt % 2, 0.1, 0.7)
    paid = right ^ (rng.random(len(prompt)) < np.where(right, 0.2, 0.1))
    found = run(pd.DataFrame({"prompt": prompt, "truth": right, "verdict": paid}))
    assert found.phi2_within == pytest.approx(0.383812, abs=0.012)
    assert found.phi2_within_ci is not None
    assert found.phi2_within_ci[0] < 0.383812 < found.phi2_within_ci[1]


def test_unlabelled_verdicts_shorten_the_pass_rate_and_never_lengthen_the_rates() -> None:
    """60 labelled prompts of 600, J = .8: the pass rate's interval at least 25 % shorter, coverage kept."""
    rng = np.random.default_rng(3)
    ratios, held = [], []
    for _ in range(40):
        frame = table(rng, prompts=600, labelled=60, icc=0.1)
        both = run(frame)
        alone = run(frame[frame["truth"] != ""].reset_index(drop=True))
        assert both.fpr_ci is not None
        assert both.pass_rate_ci is not None
        assert alone.pass_rate_ci is not None
        assert both.phi2_ci is not None
        assert alone.phi2_ci is not None
        assert both.fpr_ci == pytest.approx(alone.fpr_ci)
        assert both.fnr_ci == pytest.approx(alone.fnr_ci)
        assert np.diff(both.phi2_ci) <= np.diff(alone.phi2_ci) + 1e-12
        ratios.append(float((np.diff(both.pass_rate_ci) / np.diff(alone.pass_rate_ci))[0]))
        held.append(both.pass_rate_ci[0] <= 0.4 <= both.pass_rate_ci[1])
    assert np.mean(ratios) < 0.75
    assert np.mean(held) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 40)


def test_a_coin_verdict_buys_nothing() -> None:
    rng = np.random.default_rng(4)
    frame = table(rng, prompts=400, labelled=60)
    frame["verdict"] = rng.random(len(frame)) < 0.5
    both, alone = run(frame), run(frame[frame["truth"] != ""].reset_index(drop=True))
    assert both.pass_rate_ci is not None
    assert alone.pass_rate_ci is not None
    assert np.diff(both.pass_rate_ci) > 0.9 * np.diff(alone.pass_rate_ci)
    assert "coin" in " ".join(both.warnings)
    assert both.youden_ci is not None
    assert both.youden_ci[0] < 0 < both.youden_ci[1]


@pytest.mark.parametrize("kept", ["none", "paid", "unpaid", "right", "wrong"])
def test_what_the_labels_do_not_identify_is_refused_with_what_to_label(kept: str) -> None:
    frame = table(np.random.default_rng(5), prompts=100)
    paid, right = frame["verdict"], frame["truth"].astype(bool)
    labelled = {
        "none": paid & False, "paid": paid, "unpaid": ~paid, "right": right, "wrong": ~right
    }[kept]  # fmt: skip
    frame["truth"] = frame["truth"].astype(object).where(labelled, "")
    found = run(frame)
    missing = {"right": ["fpr"], "wrong": ["fnr"]}.get(kept, ["fpr", "fnr"])
    for name in ("fpr", "fnr"):
        assert (getattr(found, name) is None) == (name in missing)
    for name in missing:
        assert "unidentified" in found.reasons[name]
        assert "label" in found.reasons[name]
    assert found.youden is None
    assert found.effective_rollouts is None
    assert "unidentified" in found.reasons["effective_rollouts"]


def test_labels_drawn_by_verdict_are_weighted() -> None:
    """All paid rollouts labelled and a fifth of the unpaid: the plain rates would be far off."""
    rng = np.random.default_rng(6)
    frame = table(rng, prompts=1500, fnr=0.3, icc=0.1)
    whole = run(frame)
    paid = frame["verdict"].to_numpy()
    part = frame.copy()
    part["truth"] = part["truth"].astype(object).where(paid | (rng.random(len(frame)) < 0.2), "")
    found = run(part)
    assert "depends on the verdict" in " ".join(found.warnings)
    assert found.fnr_ci is not None
    assert found.fnr_ci[0] < (whole.fnr or 0.0) < found.fnr_ci[1]
    plain = run(part[part["truth"] != ""].reset_index(drop=True))
    assert plain.fnr_ci is not None
    assert plain.fnr_ci[1] < (whole.fnr or 0.0)


def test_unscorable_is_kept_apart() -> None:
    frame = table(np.random.default_rng(7), prompts=100)
    frame["verdict"] = frame["verdict"].map({True: "1", False: "0"}).astype(object)
    base = run(frame)
    hidden = np.random.default_rng(8).random(len(frame)) < 0.2
    frame.loc[hidden, "verdict"] = "unscorable"
    found = run(frame)
    assert found.unscorable == int(hidden.sum())
    assert found.n == len(frame) - found.unscorable
    assert found.unscorable_detail.fnr_if_unpaid is not None
    assert found.unscorable_detail.fnr_if_unpaid > (base.fnr or 0.0)
    frame["verdict"] = "unscorable"
    assert "all 500 rollouts are unscorable" in run(frame).reasons["fpr"]


@pytest.mark.parametrize(
    ("cell", "said"), [("0.5", "row 3: verdict is '0.5'"), ("maybe", "row 3: verdict is 'maybe'")]
)
def test_a_verdict_that_is_none_is_refused_by_row(cell: str, said: str) -> None:
    frame = pd.DataFrame({"truth": [1, 0, 1], "verdict": ["1", "0", cell], "prompt": [1, 2, 3]})
    with pytest.raises(InputError, match=said):
        run(frame)


def test_a_judge_of_the_users_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_grader.py").write_text(
        "def grade(completion, gold):\n"
        "    if 'crash' in completion:\n        raise OSError('no sandbox')\n"
        "    return None if not completion else completion.split()[-1] == gold\n\n"
        "def reward(completions, gold, **kwargs):\n"
        "    return [float(c.endswith(g)) for c, g in zip(completions, gold)]\n"
    )
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(
        {"text": ["it is 4", "it is 14", "", "crash 4", "it is 5"] * 8, "gold": ["4"] * 40}
    )
    found = audited(
        frame, completion="text", gold="gold", reference="contains", verifier="their_grader:grade"
    )
    assert (found.fpr, found.fnr) == (0.0, 0.0)
    assert found.unscorable == 16
    assert "raised on 1 completion, first row 4: OSError: no sandbox" in " ".join(found.warnings)
    found = audited(
        frame, completion="text", gold="gold", reference="contains", verifier="their_grader:reward"
    )
    assert found.unscorable == 0
    assert found.fpr == pytest.approx(1 / 3)
    regex = audited(
        frame, completion="text", gold="gold", reference="contains", verifier_regex=r"is (\d+)"
    )
    assert (regex.fpr, regex.fnr, regex.unscorable) == (0.0, 0.0, 16)


def test_strict_says_that_all_is_unscorable_and_reads_what_is_rewritten(tmp_path: Path) -> None:
    """GSM8K's example solutions, four models a line, ending in `A: n`."""
    path = shared_data("gsm8k/example_model_solutions.jsonl")
    columns: dict[str, Any] = {
        "truth": "*.is_correct", "completion": "*.solution", "gold": "ground_truth", "gold_after": "A:"
    }  # fmt: skip
    found = audited(path, verifier="strict", **columns)
    assert (found.n, found.unscorable, found.fpr) == (0, 5276, None)
    assert "all 5276 rollouts are unscorable" in found.reasons["fpr"]
    rewritten = tmp_path / "rewritten.jsonl"
    rewritten.write_text(path.read_text().replace("\\nA: ", "\\n#### "))
    found = audited(rewritten, verifier="strict", **columns | {"gold_after": None})
    assert found.clusters > 1300
    assert found.n > 5200
    assert found.youden is not None
    assert found.youden > 0.95

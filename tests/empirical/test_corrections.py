"""What a trainer makes of verdicts: dropped groups, segments weighed by an audit, and what the studies declare."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

import empirical
from empirical.noise import Arm, BySegment, DropGroups, Shown, TriggeredNoise, Worth, structure
from empirical.studies import Study, read_study
from empirical.training.rewards import NoisyVerifier
from empirical.verifiers import Verdict, strict
from theory import VerifierChannel, advantages
from theory.channel import BoolArray
from theory.corrections import majority
from theory.structures import Independent

HERE = Path(empirical.__file__).parent
STUDIES = HERE / "studies" / "trained"
SHORT = {"kind": "length", "most": 6}


def segments(**worth: dict[str, float]) -> BySegment:
    return BySegment.model_validate({"kind": "by_segment", "selector": SHORT, **worth})


def test_a_dropped_group_has_no_advantage_and_others_keep_theirs() -> None:
    paid = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]], dtype=np.bool_)
    group = np.repeat([7, 2, 9], 4)
    worth = DropGroups(kind="drop_groups", paid=[1, 3]).worth(paid.ravel(), group=group)
    assert worth.tolist() == [0.0] * 4 + [1.0, 1.0, 0.0, 0.0] + [0.0] * 4
    assert not advantages(worth.reshape(3, 4))[[0, 2]].any()


def test_groups_are_told_apart_by_their_numbers_wherever_they_lie() -> None:
    paid = np.array([1, 1, 0, 0], dtype=np.bool_)
    drop = DropGroups(kind="drop_groups", paid=[1])
    assert drop.worth(paid, group=np.array([0, 1, 0, 1])).tolist() == [0.0] * 4
    assert drop.worth(paid, group=np.array([0, 0, 1, 1])).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_segments_have_rewards_of_their_own() -> None:
    correction = segments(selected={"unpaid": -1.0, "paid": 0.25}, otherwise={"paid": 2.0})
    worth = correction.worth(
        np.array([True, False, True, False]),
        group=np.zeros(4, dtype=np.int64),
        segment=np.array([True, True, False, False]),
    )
    assert worth.tolist() == [0.25, -1.0, 2.0, 0.0]


@pytest.mark.parametrize("inside", [True, False])
def test_a_group_within_one_segment_feels_nothing_of_an_affine_map(inside: bool) -> None:
    paid = np.array([True, True, False, True, False, False])
    correction = segments(
        selected={"unpaid": 0.1, "paid": 0.3}, otherwise={"unpaid": -2, "paid": 5}
    )
    worth = correction.worth(paid, group=np.zeros(6, dtype=np.int64), segment=np.full(6, inside))
    assert advantages(worth) == pytest.approx(advantages(paid.astype(float)), rel=2e-3)


def test_the_trainer_is_told_what_verdicts_are_worth_and_logs_the_verdicts() -> None:
    logged: dict[str, float] = {}
    verifier = NoisyVerifier(
        Independent(VerifierChannel(0.0, 0.0)),
        strict,
        seed=0,
        group_size=4,
        correction=segments(selected={"paid": 0.5}),
    )
    got = verifier(
        completions=["#### 18", "#### 9", "so #### 18", "#### 8", "#### 9", "#### 9", "x", "y"],
        gold=["18", "18", "18", "18", "9", "9", "9", "9"],
        prompt_id=[0] * 4 + [1] * 4,
        trainer_state=SimpleNamespace(global_step=0),
        log_metric=logged.__setitem__,
    )
    assert got == [1.0, 0.0, 1.0, 0.0, 0.5, 0.5, 0.0, 0.0]
    assert logged["verifier/paid"] == 4.0
    dropping = NoisyVerifier(
        verifier.structure,
        strict,
        seed=0,
        group_size=4,
        correction=DropGroups(kind="drop_groups", paid=[2]),
    )
    dropping(
        completions=["#### 18", "#### 9", "#### 18", "#### 8"],
        gold=["18"] * 4,
        prompt_id=[0] * 4,
        trainer_state=SimpleNamespace(global_step=0),
        log_metric=logged.__setitem__,
    )
    assert logged["verifier/ability_gradient"] == 0.0


def test_a_corrected_arm_is_known_by_its_correction_and_an_uncorrected_one_as_before() -> None:
    assert Arm(fpr=0.1).label == "independent"
    assert "correction" not in Arm(fpr=0.1).model_dump(exclude_defaults=True)
    dropped = Arm.model_validate({"correction": {"kind": "drop_groups", "paid": [1]}})
    assert dropped.label == "independent, drop_groups"


@pytest.mark.parametrize(
    "correction",
    [
        {"kind": "drop_groups", "paid": []},
        {"kind": "drop_groups", "paid": [0]},
        {"kind": "by_segment", "selector": SHORT},
        {"kind": "by_segment", "selector": SHORT, "selected": {"paid": float("nan")}},
        {"kind": "backward"},
    ],
)
def test_a_correction_that_is_none_is_refused(correction: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Arm.model_validate({"correction": correction})


def test_the_studys_majorities_are_those_of_theory() -> None:
    arms = read_study(STUDIES / "corrections.yaml").arms
    for name, votes in (("majority3", 3), ("majority5", 5)):
        channel = majority(arms["both0.4"].channel(), votes)
        assert (arms[name].fpr, arms[name].fnr) == pytest.approx(
            (channel.fpr, channel.fnr), abs=1e-12
        )


def test_blocks_of_one_budget_take_as_many_rollouts() -> None:
    study = read_study(STUDIES / "corrections.yaml")
    rollouts = {
        (run.group_size, run.training.prompts_per_step): run.group_size
        * run.training.prompts_per_step
        for run in study.runs()
        if run.arm == "both0.4"
    }
    assert rollouts == {(24, 8): 192, (16, 4): 64, (8, 24): 192, (32, 2): 64, (4, 16): 64}
    assert {run.training.prompts_per_step for run in study.runs() if run.arm != "both0.4"} == {8}


def test_a_blocks_batch_must_split_as_the_studys() -> None:
    study = read_study(STUDIES / "corrections.yaml").model_dump()
    training = study["training"] | {"gradient_accumulation": 4}
    blocks = [{"group_sizes": [7], "prompts_per_step": 3}]
    with pytest.raises(ValidationError, match="21 rollouts"):
        Study.model_validate(study | {"training": training, "blocks": blocks})


def test_what_a_segment_is_worth_is_what_an_audit_of_256_completions_says() -> None:
    """The study's header says how they were drawn."""
    rows = pd.read_parquet(HERE / "results" / "learnable-errors" / "initial.parquet")
    rows = rows.iloc[np.random.default_rng(0).permutation(len(rows))[:256]]
    told = list(zip(rows["completion"], rows["gold"].astype(str), strict=True))
    judged = [strict(text, gold) for text, gold in told]
    right = np.array([one.verdict is Verdict.RIGHT for one in judged])
    shown = [Shown(t, j.answer, g) for (t, g), j in zip(told, judged, strict=True)]
    for name in ("audited-fault", "audited-length"):
        arm = read_study(STUDIES / "corrections-learnable.yaml").arms[name]
        assert isinstance(arm.noise, TriggeredNoise)
        assert isinstance(arm.correction, BySegment)
        fault = arm.noise.selector
        assert fault is not None
        paid = right | np.array([fault.selects(one) for one in shown])
        inside = np.array([arm.correction.selector.selects(one) for one in shown])

        def worth(segment: BoolArray, paid: BoolArray = paid) -> Worth:
            n, k = int((segment & paid).sum()), int((segment & paid & right).sum())
            assert not (segment & ~paid & right).any()
            return Worth(paid=round((k + 0.5) / (n + 1), 5))

        assert (arm.correction.selected, arm.correction.otherwise) == (
            worth(inside),
            worth(~inside),
        )
        assert structure(arm)

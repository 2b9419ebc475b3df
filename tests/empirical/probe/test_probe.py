"""The probe: scores against autograd, sums against theory, and a whole probe of a committed tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import empirical
from empirical.errors import StudyError
from empirical.noise import Arm
from empirical.probe import (
    BlockSums,
    Probe,
    ProbeSpec,
    group_weights,
    phi2_measured,
    probe,
    probe_spec,
    read_probe,
    result_of,
)
from empirical.studies import Study, read_study
from fits.files import write_text
from fits.plain import json_text
from theory.estimators import DR_GRPO, GRPO, advantages

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra"),
]

HERE = Path(empirical.__file__).parent
WEIGHTS = HERE / "results" / "cpu-campaign" / "models" / "tiny-139k-c1ed1e6831"


def campaign(arms: dict[str, object], group_sizes: list[int]) -> Study:
    """The campaign's task and model with other arms."""
    study = read_study(HERE / "studies" / "trained" / "cpu-campaign.yaml").model_dump()
    return Study.model_validate({**study, "arms": arms, "group_sizes": group_sizes, "blocks": []})


def small(**changes: object) -> ProbeSpec:
    arms = {
        "clean": {},
        "fpr0.4": {"fpr": 0.4},
        "answers": {"fpr": 0.4, "noise": "per_answer"},
        "two": {
            "noise": {
                "kind": "triggered",
                "selector": {"kind": "keyword", "word": "#### 2"},
                "selected": {"fpr": 0.9},
            }
        },
    }
    spec = probe_spec(campaign(arms, [2, 4]), groups=16, group_size=4, weights=500)
    return spec.model_copy(update=changes)


@pytest.fixture(scope="module")
def policy():
    from empirical.training.models import load_policy

    study = read_study(HERE / "studies" / "trained" / "cpu-campaign.yaml")
    return load_policy(study.models[0], tiny=WEIGHTS)


def test_advantages_times_scores_are_the_gradient_of_the_trainers_loss(policy) -> None:
    """One padded batch, differentiated at once to the weights, as TRL does."""
    import torch

    from empirical.training.scores import sample_ids, scores, subset

    sampled = sample_ids(
        policy.model,
        policy.tokenizer,
        ["3+4-5\n"] * 6,
        max_new_tokens=32,
        temperature=0.7,
        batch_size=4,
        seed=1,
        part=0,
    )
    prompt, completions = sampled[0][0], [said for _, said in sampled]
    assert len({len(said) for said in completions}) > 1, "choose a seed with unequal lengths"
    weight = np.array([1.5, -0.5, 0.25, -1.0, 0.5, -0.75])
    every = subset(policy.model, 10**9, seed=0)
    assert every.size == every.total
    score_UP = scores(policy.model, every, prompt, completions, temperature=0.7)

    width = max(map(len, completions))
    pad = policy.tokenizer.pad_token_id
    ids = torch.tensor([[*prompt, *c, *[pad] * (width - len(c))] for c in completions])
    mask = torch.tensor(
        [[1] * (len(prompt) + len(c)) + [0] * (width - len(c)) for c in completions]
    )
    logits = policy.model(input_ids=ids, attention_mask=mask).logits[:, len(prompt) - 1 : -1]
    logp = torch.log_softmax(logits / 0.7, dim=-1).gather(-1, ids[:, len(prompt) :, None])[..., 0]
    kept = mask[:, len(prompt) :]
    loss = ((logp * kept).sum(dim=1) * torch.tensor(weight)).sum()
    whole = torch.autograd.grad(loss, list(policy.model.parameters()))
    expected = torch.cat([g.reshape(-1) for g in whole]).numpy()
    found = weight @ score_UP.numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())

    some = subset(policy.model, 300, seed=0)
    starts = dict(
        zip(
            (name for name, _ in policy.model.named_parameters()),
            np.cumsum([0, *(p.numel() for p in policy.model.parameters())]),
            strict=False,
        )
    )
    columns = np.concatenate([starts[name] + places for name, places in some.places])
    part_UP = scores(policy.model, some, prompt, completions, temperature=0.7)
    np.testing.assert_allclose(
        part_UP, score_UP[:, columns], atol=1e-6 * float(score_UP.abs().max())
    )


def test_probing_leaves_the_model_and_the_random_stream_alone(policy) -> None:
    import torch

    from empirical.training.scores import sample_ids, scores, subset

    model = policy.model.train()
    first = next(model.parameters())
    first.requires_grad_(False)
    first.grad = torch.ones_like(first)
    before = torch.random.get_rng_state()
    sampled = sample_ids(
        model,
        policy.tokenizer,
        ["1+1+1\n"],
        max_new_tokens=8,
        temperature=1.0,
        batch_size=1,
        seed=0,
        part=0,
    )
    chosen = subset(model, 50, seed=0)
    assert chosen.total == sum(p.numel() for p in model.parameters()) - first.numel()
    scores(model, chosen, sampled[0][0], [sampled[0][1]], temperature=1.0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training
    assert not first.requires_grad
    assert torch.equal(first.grad, torch.ones_like(first))
    assert all(p.grad is None for p in list(model.parameters())[1:])
    first.requires_grad_(True)
    first.grad = None
    model.eval()


def test_scores_taken_together_are_those_taken_one_by_one(
    policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where they are, no weight's gradient is made; else one tensor's at a time, so that a model fits."""
    from empirical.training import scores as module

    held: list[int] = []

    def watched(function):
        def watching(*given):
            held.append(sum(p.grad is not None for p in policy.model.parameters()))
            return function(*given)

        return watching

    def taken():
        held.clear()
        return module.scores(policy.model, chosen, [5, 6, 7], said, temperature=0.7)

    chosen = module.subset(policy.model, 10**9, seed=0)
    said = [[8, 9], [9, 1, 4, 2], [3]]
    law = module._law
    monkeypatch.setattr(module, "_law", lambda *given: watched(law(*given)))
    together = taken()
    assert held
    assert set(held) == {0}
    # Too many tokens for one batch: some at a time.
    monkeypatch.setattr(module, "_TOKENS", 14)
    apart = taken()
    monkeypatch.setattr(module, "_law", lambda *_: None)
    monkeypatch.setattr(module, "_read", watched(module._read))
    alone = taken()
    assert len(held) == len(said) * len(chosen.places)
    assert set(held) == {1}
    scale = float(alone.abs().max())
    for found in (together, apart):
        np.testing.assert_allclose(found, alone, atol=2e-6 * scale)


def test_a_layer_that_is_given_no_sequences_is_read_one_by_one(policy) -> None:
    """As a mixture's experts are, which see the tokens of all sequences in a row."""
    import copy

    import torch

    from empirical.training.scores import scores, subset

    class Flat(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.inner(hidden.reshape(-1, hidden.shape[-1])).reshape(hidden.shape)

    model = copy.deepcopy(policy.model)
    model.model.layers[0].mlp = Flat(model.model.layers[0].mlp)
    said = [[8, 9], [9, 1]]
    every = subset(policy.model, 10**9, seed=0)
    expected = scores(policy.model, every, [5, 6, 7], said, temperature=1.0)
    found = scores(model, subset(model, 10**9, seed=0), [5, 6, 7], said, temperature=1.0)
    np.testing.assert_allclose(found, expected, atol=2e-6 * float(expected.abs().max()))


def test_scores_of_weights_in_half_precision_are_single(policy) -> None:
    """Sums over groups are of small differences; what bf16 loses it loses in the passes alone."""
    import copy

    import torch

    from empirical.training.scores import scores, subset

    model = copy.deepcopy(policy.model).to(torch.bfloat16)
    found = scores(
        model, subset(model, 5000, seed=0), [5, 6, 7], [[8, 9, 1], [8, 9, 1]], temperature=1.0
    )
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())
    assert torch.equal(found[0], found[1])
    assert float(found.abs().max()) > 0.0


def test_rollouts_that_are_dropped_leave_the_statistics_of_their_group() -> None:
    paid = np.array([[1, 0, 0, 1, 1, 1, 0, 1]], dtype=np.bool_)
    dropped = np.array([0, 0, 1, 0, 0, 1, 1, 1], dtype=np.bool_)
    weights = group_weights(paid, 4, GRPO, dropped, np.arange(8), np.ones(8))
    first, second = weights[0]
    np.testing.assert_allclose(first[[0, 1, 3]] * 4, advantages([1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(first[[2, 4, 5, 6, 7]], 0.0)
    np.testing.assert_array_equal(second, 0.0)  # one scorable rollout teaches nothing
    by_length = group_weights(paid, 4, GRPO, dropped, np.arange(8), 1.0 / np.arange(1.0, 9.0))
    np.testing.assert_allclose(by_length, weights / np.arange(1.0, 9.0))
    plain = group_weights(paid, 4, DR_GRPO, None, np.arange(8), np.ones(8)).sum(axis=1)[0]
    np.testing.assert_allclose(plain * 4, advantages(paid.reshape(2, 4), DR_GRPO).ravel())


def synthetic(
    spec: ProbeSpec,
    folder: Path,
    *,
    pass_rate: float,
    noise: tuple[float, float],
    signal: float,
    weights: int = 300,
    seed: int = 0,
) -> Probe:
    """A probe of a made-up policy: score = signal * (right - pass_rate) + Gaussian noise.

    noise: its variance per weight in wrong and in right rollouts.
    """
    import torch

    rng = np.random.default_rng(seed)
    n = spec.rollouts_per_prompt
    write_text(folder / "spec.json", "")
    for block in range(spec.blocks):
        sums = BlockSums(spec, weights)
        for _ in range(spec.prompts // spec.blocks):
            right = rng.random(n) < pass_rate
            spread = np.sqrt(np.where(right, noise[1], noise[0]))[:, np.newaxis]
            score = signal * (right - pass_rate)[:, np.newaxis]
            score = score + spread * rng.normal(size=(n, weights))
            u = rng.random((spec.noise_draws, n))
            paid = np.stack(
                [
                    [right ^ (u < np.where(right, arm.fnr, arm.fpr))] * len(spec.group_sizes)
                    for _, arm in spec.judges
                ]
            )
            sums.add(
                torch.tensor(score, dtype=torch.float32),
                np.arange(n),
                lengths_U=np.full(n, 5.0),
                right_R=right,
                dropped_R=None,
                paid_VGDR=paid,
                worth_VGDR=paid.astype(np.float64),
            )
        np.save(folder / f"block-{block:03d}.npy", sums.sums)
        facts = {"weights_sha256": "", "weights": weights, "weights_total": weights}
        (folder / f"block-{block:03d}.json").write_text(json.dumps({**facts, **sums.facts()}))
    return result_of(spec, folder, seconds=0.0)


ARMS = {
    "clean": {"estimator": "dr_grpo"},
    "fp": {"fpr": 0.4, "estimator": "dr_grpo"},
    "fn": {"fnr": 0.4, "estimator": "dr_grpo"},
    "coin": {"fpr": 0.5, "fnr": 0.5, "estimator": "dr_grpo"},
}


def law(arm: Arm, pass_rate: float, v0: float, v1: float, size: int) -> float:
    """SNR^2 of dr_grpo to a common factor, signal small beside noise: THEORY section 8's M."""
    x, d, a = arm.fpr, arm.fnr, pass_rate
    q = x + (1 - x - d) * a
    m = a * v1 * ((1 - d) * (1 - q) ** 2 + d * q**2)
    m += (1 - a) * v0 * (x * (1 - q) ** 2 + (1 - x) * q**2)
    mean_v = a * v1 + (1 - a) * v0
    return ((1 - x - d) * a * (1 - a)) ** 2 * (size - 1) / (m + mean_v * q * (1 - q) / (size - 1))


@pytest.mark.parametrize("noise", [(1.0, 1.0), (3.0, 1.0)])
def test_signals_and_effective_rollouts_are_those_of_theory(
    tmp_path: Path, noise: tuple[float, float]
) -> None:
    pass_rate, size = 0.3, 8
    spec = probe_spec(campaign(ARMS, [size]), groups=512, weights=300)
    found = synthetic(spec, tmp_path, pass_rate=pass_rate, noise=noise, signal=0.2)
    arms = {arm.arm: arm for arm in found.arms}
    low, high = found.v0_over_v1_ci
    # Squared norms also hold the signal's part, a hundredth here.
    assert low - 0.03 * noise[0] < noise[0] / noise[1] < high + 0.03 * noise[0]
    clean = law(spec.arms["clean"], pass_rate, *noise, size)
    for name in ("fp", "fn"):
        expected = law(spec.arms[name], pass_rate, *noise, size) / clean
        snr = arms[name].snr2 / arms["clean"].snr2
        assert snr == pytest.approx(expected, rel=0.12)
        if noise == (1.0, 1.0):
            # phi^2 (G - 1) + 1, which here is also what the ratio of SNR^2 says.
            x, d = arms[name].fpr, arms[name].fnr
            q = x + (1 - x - d) * pass_rate
            phi2 = (1 - x - d) ** 2 * pass_rate * (1 - pass_rate) / (q * (1 - q))
            lower, upper = arms[name].effective_rollouts_ci
            assert lower - 0.2 < 1 + phi2 * (size - 1) < upper + 0.2
    # An error that wrong rollouts make costs more where wrong rollouts are noisier.
    if noise[0] > noise[1]:
        assert law(spec.arms["fp"], pass_rate, *noise, 8) < law(spec.arms["fp"], pass_rate, 2, 2, 8)
    assert arms["coin"].effective_rollouts is None
    assert "J" in (arms["coin"].effective_rollouts_reason or "")
    assert abs(arms["coin"].relative_speed or 0.0) < 4 * (arms["coin"].se or 0.0)
    assert arms["clean"].effective_rollouts == size
    # One direction, so prompts differ by their rollouts alone.
    assert found.noise_between is not None
    assert found.noise_within is not None
    assert abs(found.noise_between) < 0.1 * found.noise_within
    # With independent flips the paid wrong answers are a share of all wrong ones, and fall with them.
    assert arms["fp"].exploit_rate == pytest.approx(-0.4 * arms["fp"].right_rate, rel=0.15)


def test_an_error_that_can_be_learnt_grows_and_one_by_chance_does_not(tmp_path: Path) -> None:
    """Wrong answers with a mark are paid: beside the right ones they grow, and unpaid wrong ones make room.

    A softmax over right, marked and plain answers, one logit a weight, a third of the weights each.
    """
    import torch

    arms = {"clean": {}, "chance": {"fpr": 0.4}, "mark": {"fpr": 0.9}}
    spec = probe_spec(campaign(arms, [8]), groups=64, weights=30)
    rng = np.random.default_rng(0)
    share, n = np.array([0.3, 0.3, 0.4]), spec.rollouts_per_prompt
    for block in range(spec.blocks):
        sums = BlockSums(spec, 30)
        for _ in range(spec.prompts // spec.blocks):
            kind = rng.choice(3, size=n, p=share)
            right, marked = kind == 0, kind == 1
            score = np.repeat(np.eye(3)[kind] - share, 10, axis=1)
            flipped = rng.random((spec.noise_draws, n)) < 0.4
            paid = [np.tile(right, (spec.noise_draws, 1)), right | flipped]
            paid.append(np.tile(right | marked, (spec.noise_draws, 1)))
            paid_VGDR = np.stack(paid)[:, np.newaxis]
            sums.add(
                torch.tensor(score, dtype=torch.float32),
                np.arange(n),
                lengths_U=np.ones(n),
                right_R=right,
                dropped_R=None,
                paid_VGDR=paid_VGDR,
                worth_VGDR=paid_VGDR.astype(np.float64),
            )
        np.save(tmp_path / f"block-{block:03d}.npy", sums.sums)
        facts = {"weights_sha256": "", "weights": 30, "weights_total": 30, **sums.facts()}
        (tmp_path / f"block-{block:03d}.json").write_text(json.dumps(facts))
    found = {arm.arm: arm for arm in result_of(spec, tmp_path, seconds=0.0).arms}
    assert found["clean"].exploit_rate == 0.0
    assert found["chance"].exploit_rate_ci[1] < 0.0 < found["chance"].right_rate_ci[0]
    assert found["mark"].exploit_rate_ci[0] > 0.0
    # Right and marked answers are alike to this verifier, and as many: they grow alike.
    low, high = found["mark"].exploit_rate_ci
    assert low < found["mark"].right_rate < high


def test_noise_between_prompts_is_taken_off_what_a_rollout_is_worth() -> None:
    """1/SNR^2 = between + within/phi^2, over the signal: phi^2 is found whatever the part between prompts."""
    signal, within, phi2 = 2.0, 3.0, 0.4
    between = np.array([0.0, 1.0, 10.0])
    along = np.full(3, 0.6 * signal)
    noise = (along / signal) ** 2 * (between + within / phi2)
    ones = np.ones(3)
    found = phi2_measured(along, noise, signal * ones, between + within, between)
    np.testing.assert_allclose(found, phi2)


def test_a_gradient_lost_in_noise_is_said_to_be(tmp_path: Path) -> None:
    spec = probe_spec(campaign(ARMS, [4]), groups=16, weights=300)
    found = synthetic(spec, tmp_path, pass_rate=0.5, noise=(1.0, 1.0), signal=0.0)
    noisy = found.arms[1]
    assert noisy.relative_speed is None
    assert noisy.ci is None
    assert "probe more groups" in (noisy.relative_speed_reason or "")
    json.loads(json_text(found), parse_constant=lambda c: pytest.fail(f"{c} in the document"))


@pytest.mark.parametrize("pass_rate", [0.0, 1.0])
def test_where_all_answers_are_alike_the_probe_says_that_it_says_nothing(
    pass_rate: float, tmp_path: Path
) -> None:
    spec = probe_spec(campaign(ARMS, [4]), groups=16, weights=300)
    found = synthetic(spec, tmp_path, pass_rate=pass_rate, noise=(1.0, 1.0), signal=0.1)
    low, high = found.pass_rate_ci
    assert low is not None
    assert high is not None
    assert low <= pass_rate <= high
    assert high - low > 0.1
    for arm in found.arms[1:]:
        assert arm.relative_speed is None
        assert "no group held right and wrong" in (arm.relative_speed_reason or "")
        assert arm.effective_rollouts is None
    json.loads(json_text(found), parse_constant=lambda c: pytest.fail(f"{c} in the document"))


def test_a_correction_is_probed_as_the_trainer_makes_it(tmp_path: Path) -> None:
    """One that changes nothing moves nothing; where every group is dropped, nothing is learnt."""
    segment = {"kind": "by_segment", "selector": {"kind": "length", "most": 8}}
    arms = {
        "clean": {},
        "fpr0.4": {"fpr": 0.4},
        "same": {"fpr": 0.4, "correction": segment | {"selected": {"paid": 1.0}}},
        "short": {"fpr": 0.4, "correction": segment | {"selected": {"paid": 0.0}}},
        "none": {"fpr": 0.4, "correction": {"kind": "drop_groups", "paid": [1, 2, 3]}},
    }
    spec = probe_spec(campaign(arms, [4]), groups=16, weights=500)
    found = {arm.arm: arm for arm in probe(spec, tmp_path / "probe.json", weights=WEIGHTS).arms}
    assert replace(found["same"], arm="fpr0.4", noise="independent") == found["fpr0.4"]
    assert found["none"].right_rate == 0.0
    assert found["short"].right_rate != found["fpr0.4"].right_rate
    assert found["short"].exploit_rate != found["fpr0.4"].exploit_rate


def test_a_probe_is_the_same_however_it_is_carried_out(tmp_path: Path) -> None:
    """At once; interrupted and resumed; by two processes."""
    spec = small()
    whole = probe(spec, tmp_path / "whole.json", weights=WEIGHTS)
    assert {arm.arm for arm in whole.arms} == {"clean", "fpr0.4", "answers", "two"}
    assert whole.weights == 500
    assert 0.1 < whole.pass_rate < 0.6

    def stop(done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(spec, tmp_path / "part.json", weights=WEIGHTS, report=stop)
    seen: list[int] = []
    resumed = probe(
        spec,
        tmp_path / "part.json",
        weights=WEIGHTS,
        processes=2,
        report=lambda done, of: seen.append(done),
    )
    assert seen == [2, 3, 4]
    assert replace(resumed, seconds=0.0) == replace(whole, seconds=0.0)
    for block in range(spec.blocks):
        one, other = (
            (tmp_path / f"{name}.json.parts" / f"block-{block:03d}.npy").read_bytes()
            for name in ("whole", "part")
        )
        assert one == other

    with pytest.raises(StudyError, match="holds the blocks of another probe"):
        probe(small(seed=1), tmp_path / "part.json", weights=WEIGHTS)

    path = tmp_path / "probe.json"
    path.write_text(json_text(whole))
    assert read_probe(path) == whole
    assert read_probe(path).at(2).group_size == 2
    with pytest.raises(StudyError, match="no group size 3"):
        whole.at(3)
    assert len(whole.to_frame()) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "is not JSON"),
        ("{}", "is not a probe"),
        ('{"kind": "probe", "version": 0}', "probe of version 0"),
        ('{"kind": "probe", "version": 1}', "Field required"),
    ],
)
def test_what_is_no_probe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(StudyError, match=message):
        read_probe(path)


def test_a_study_is_asked_for_what_it_has() -> None:
    study = campaign({"fp": {"fpr": 0.4}}, [4, 6])
    with pytest.raises(StudyError, match="--model x"):
        probe_spec(study, model="x")
    with pytest.raises(StudyError, match="do not divide"):
        probe_spec(study)
    with pytest.raises(StudyError, match="--groups 15"):
        probe_spec(study, group_size=8, groups=15)
    # A clean verifier is judged beside the arms where the study has none.
    spec = probe_spec(study, group_size=8)
    assert [name for name, _ in spec.judges] == ["fp", "clean, grpo"]

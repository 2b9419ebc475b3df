"""What a probe says: of every arm at every group size, with intervals and the reasons where there is none."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from empirical.errors import StudyError
from empirical.probe.spec import VERSION, ProbeSpec, is_clean
from empirical.probe.statistics import (
    FORMS,
    Chunk,
    Signals,
    Speeds,
    signals,
    speeds,
)
from fits.errors import InputError
from fits.files import file_bytes
from fits.hypotheses import jackknife_error
from fits.inference import wilson
from fits.readers.jsonl import TornJsonError, parse_json
from theory.channel import FloatArray
from theory.estimators import MOST_ROLLOUTS

if TYPE_CHECKING:
    import pandas as pd


__all__ = [
    "ArmProbe",
    "Form",
    "Probe",
    "SizeProbe",
    "phi2_measured",
    "read_probe",
    "result_of",
]

HEADLINE: Final = "adam"
# Below so many standard errors the clean gradient is lost in noise, and ratios to it say nothing.
LEAST_CERTAINTY: Final = 3.0

Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Form:
    """Relative speed under one form of the optimiser, 95 % interval and standard error; None with a reason."""

    relative_speed: float | None
    ci: Interval | None
    se: float | None
    relative_speed_reason: str | None = None


@dataclass(frozen=True)
class ArmProbe:
    """One verifier at one group size.

    relative_speed, ci, se: under the headline form, over the clean verifier's at this group size.
    effective_rollouts: the clean rollouts per prompt of the same signal-to-noise along the clean gradient.
    right_rate, exploit_rate: first-order growth of P(right) and of P(wrong and paid) by one step.
    snr2: of a batch, total, so that errors the policy can learn count as signal.
    noise_scale: in prompts; noise_within and noise_between are its parts.
    """

    arm: str
    fpr: float
    fnr: float
    relative_speed: float | None
    ci: Interval | None
    se: float | None
    relative_speed_reason: str | None
    effective_rollouts: float | None
    effective_rollouts_ci: Interval | None
    effective_rollouts_reason: str | None
    exploit_rate: float
    exploit_rate_ci: Interval
    right_rate: float
    right_rate_ci: Interval
    snr2: float
    snr2_ci: Interval
    noise_scale: float | None
    noise_scale_reason: str | None
    noise_within: float | None
    noise_between: float | None
    youden: float
    noise: str
    estimator: str
    observed_rate: float
    paid_wrong_rate: float
    group_size: int
    forms: dict[str, Form]


@dataclass(frozen=True)
class SizeProbe:
    """All verifiers at one group size; clean_speed over clean's at the headline size."""

    group_size: int
    clean_speed: float | None
    clean_speed_ci: Interval | None
    clean_speed_se: float | None
    snr2: float
    snr2_ci: Interval
    noise_scale: float | None
    noise_within: float | None
    noise_between: float | None
    arms: tuple[ArmProbe, ...]


@dataclass(frozen=True)
class Probe:
    """What a probe measured: the document that `verigap probe` prints and writes.

    pass_rates: of each probed prompt, ascending. v0, v1: mean squared norm of a wrong and of a right
    rollout's score, over all weights. weights: the random subset's, of weights_total. snr2 and what follows
    it are the clean verifier's at `group_size`.
    """

    arms: tuple[ArmProbe, ...]
    pass_rate: float
    pass_rate_ci: Interval
    snr2: float
    snr2_ci: Interval
    noise_scale: float | None
    noise_scale_ci: Interval
    noise_within: float | None
    noise_between: float | None
    group_size: int
    group_sizes: tuple[int, ...]
    by_group_size: tuple[SizeProbe, ...]
    prompts_per_step: int
    learning_rate: float
    estimator: str
    optimiser: str
    optimiser_settings: dict[str, float]
    loss: str
    temperature: float
    pass_rates: tuple[float, ...]
    rollouts_per_prompt: int
    prompts: int
    groups: int
    rollouts: int
    blocks: int
    v0: float | None
    v1: float | None
    v0_over_v1: float | None
    v0_over_v1_ci: Interval | None
    completion_tokens: float
    weights: int
    weights_total: int
    model: str
    weights_sha256: str
    study: str
    task: str
    noise_draws: int
    seed: int
    assumptions: tuple[str, ...]
    seconds: float
    kind: Literal["probe"]
    version: int
    verigap: str

    def to_frame(self) -> pd.DataFrame:
        """One row per verifier and group size, forms left out."""
        import pandas as pd

        rows = [arm for one in self.by_group_size for arm in one.arms]
        names = [f.name for f in fields(ArmProbe) if f.name != "forms"]
        return pd.DataFrame([{name: getattr(arm, name) for name in names} for arm in rows])

    def at(self, group_size: int) -> SizeProbe:
        """What was measured at one group size. Raises StudyError if it was not."""
        for one in self.by_group_size:
            if one.group_size == group_size:
                return one
        raise StudyError(f"the probe has no group size {group_size}; it has {self.group_sizes}")


MOST_MEASURED: Final = 1e100  # of any number in a stored probe


def _refuse_impossible(probe: Probe, *, source: str) -> None:
    """Raise StudyError where a stored probe holds what no probe measures: it would forecast all the same."""

    def walk(value: Any, where: str) -> None:
        if isinstance(value, float) and not abs(value) <= MOST_MEASURED:
            raise StudyError(f"{source}: {where} is {value}, which no probe measures")
        for name, inner in value.items() if isinstance(value, dict) else ():
            walk(inner, f"{where}.{name}" if where else str(name))
        for place, inner in enumerate(value) if isinstance(value, list | tuple) else ():
            walk(inner, f"{where}[{place}]")

    walk(asdict(probe), "")
    rates = {"pass_rate": probe.pass_rate}
    rates |= {f"pass_rates[{i}]": rate for i, rate in enumerate(probe.pass_rates)}
    listed = {"arms": probe.arms}
    listed |= {f"by_group_size[{i}].arms": one.arms for i, one in enumerate(probe.by_group_size)}
    for name, arms in listed.items():
        for i, arm in enumerate(arms):
            rates |= {f"{name}[{i}].fpr": arm.fpr, f"{name}[{i}].fnr": arm.fnr}
    for name, rate in rates.items():
        if rate is not None and not 0.0 <= rate <= 1.0:
            raise StudyError(f"{source}: {name} is {rate:g}, outside [0, 1]")
    for name in ("v0", "v1", "completion_tokens"):
        value = getattr(probe, name)
        if value is not None and value < 0.0:
            raise StudyError(f"{source}: {name} is {value:g}, below 0")
    for i, one in enumerate(probe.by_group_size):
        if not 2 <= one.group_size <= MOST_ROLLOUTS:
            raise StudyError(
                f"{source}: by_group_size[{i}].group_size is {one.group_size}, outside [2, {MOST_ROLLOUTS:,}]"
            )
    for name in ("group_size", "prompts_per_step", "rollouts", "weights", "weights_total"):
        if getattr(probe, name) < 1:
            raise StudyError(f"{source}: {name} is {getattr(probe, name)}, below 1")


def read_probe(path: Path) -> Probe:
    """The probe in the JSON file at `path`.

    Raises StudyError naming the file if it is absent, no probe, or another version's.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        data: Any = parse_json(file_bytes(path).decode("utf-8"), source=str(path))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None
    except TornJsonError:
        raise StudyError(f"{path}: is not JSON, so not a probe") from None
    except InputError as error:
        raise StudyError(str(error)) from None
    except UnicodeDecodeError:
        raise StudyError(f"{path}: is not text, so not a probe") from None
    if not isinstance(data, dict) or data.get("kind") != "probe":
        raise StudyError(f"{path}: is not a probe; `verigap probe STUDY.yaml --out FILE` makes one")
    if data.get("version") != VERSION:
        raise StudyError(
            f"{path}: is a probe of version {data.get('version')!r}, and this reads {VERSION}: probe again"
        )
    try:
        found = TypeAdapter(Probe).validate_python(data)
        _refuse_impossible(found, source=str(path))
        return found
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StudyError(f"{path}: {where}: {first['msg']}") from None


@dataclass(frozen=True)
class _Facts:
    """The blocks' scalars, blocks first."""

    weights_sha256: str
    weights: int
    weights_total: int
    right: NDArray[np.int64]  # [block, prompt]
    paid: FloatArray
    paid_wrong: FloatArray
    norms: FloatArray
    square: FloatArray
    pair: FloatArray
    tokens: FloatArray


def _facts(folder: Path, blocks: int) -> _Facts:
    each = [
        json.loads((folder / f"block-{k:03d}.json").read_text(encoding="utf-8"))
        for k in range(blocks)
    ]
    for name in ("weights_sha256", "weights_total"):
        if len({one[name] for one in each}) > 1:
            raise StudyError(
                f"{folder}: its blocks are of different weights; remove it and probe again"
            )
    arrays = {
        name: np.array([one[name] for one in each])
        for name in ("right", "paid", "paid_wrong", "norms", "square", "pair", "tokens")
    }
    first = each[0]
    return _Facts(first["weights_sha256"], first["weights"], first["weights_total"], **arrays)


def result_of(spec: ProbeSpec, folder: Path, *, seconds: float) -> Probe:
    """The answer of the blocks in `folder`, all of `spec`. seconds: that measuring them took."""
    facts = _facts(folder, spec.blocks)
    judges = spec.judges
    v, g = len(judges), len(spec.group_sizes)
    blocks = [np.load(folder / f"block-{k:03d}.npy", mmap_mode="r") for k in range(spec.blocks)]

    def read(start: int, stop: int) -> Chunk:
        rows = np.stack([block[:, start:stop] for block in blocks])
        shape = (spec.blocks, v, g, stop - start)
        return Chunk(
            accuracy_KP=rows[:, 0],
            exploit_KVP=rows[:, 1 : 1 + v],
            mean_KVGP=rows[:, 1 + v : 1 + v + v * g].reshape(shape),
            square_KVGP=rows[:, 1 + v + v * g :].reshape(shape),
        )

    prompts_K = np.full(spec.blocks, spec.prompts // spec.blocks, dtype=np.int64)
    baseline_V = np.array(
        [
            next(
                i
                for i, (_, other) in enumerate(judges)
                if is_clean(other) and other.estimator == arm.estimator
            )
            for _, arm in judges
        ]
    )
    t = spec.training
    speed = speeds(
        read,
        prompts_K=prompts_K,
        size=facts.weights,
        total=facts.weights_total,
        prompts_per_step=t.prompts_per_step,
        baseline_V=baseline_V,
        reference_size=spec.group_sizes.index(spec.group_size),
        betas=(t.adam_beta1, t.adam_beta2),
    )
    signal = signals(
        read,
        prompts_K=prompts_K,
        size=facts.weights,
        baseline_V=baseline_V,
        square_KVG=facts.square,
        pair_KVG=facts.pair,
    )
    return _Writer(spec, facts, speed, signal, baseline_V).document(seconds)


def phi2_measured(
    along: FloatArray, noise: FloatArray, signal: FloatArray, clean: FloatArray, between: FloatArray
) -> FloatArray:
    """What a rollout under a verifier is worth in clean ones: the fall of noise beyond that between prompts.

    along: its mean gradient times the clean one. noise: its noise. signal, clean, between: the clean
    verifier's signal and noise, and the part between prompts. 0 where it does not point along the clean one.
    """
    left = np.divide(noise * signal, along**2, out=np.full_like(noise, np.inf), where=along > 0.0)
    left = left - between / signal
    return np.divide(
        clean - between, signal * left, out=np.full_like(left, np.nan), where=left > 0.0
    )


@dataclass(frozen=True)
class _Writer:
    """Puts the numbers into the document."""

    spec: ProbeSpec
    facts: _Facts
    speed: Speeds
    signal: Signals
    baseline_V: NDArray[np.int64]

    def interval(
        self, value: float, se: float, low: float = -np.inf, high: float = np.inf
    ) -> Interval:
        """At 95 %, by Student's t of the blocks; an end outside [low, high] is that bound."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.spec.blocks - 1, 0.975)) * se
        return max(low, value - half), min(high, value + half)

    def document(self, seconds: float) -> Probe:
        spec, facts, t = self.spec, self.facts, self.spec.training
        rollouts = spec.prompts * spec.rollouts_per_prompt
        sizes = tuple(self.size(s) for s in range(len(spec.group_sizes)))
        main = sizes[spec.group_sizes.index(spec.group_size)]
        first = self.first_clean
        clean = self.arm(first, spec.group_sizes.index(spec.group_size))
        right_K = facts.right.sum(axis=1) / (facts.right.shape[1] * spec.rollouts_per_prompt)
        pass_rate = float(right_K.mean())
        deleted = (right_K.sum() - right_K) / (spec.blocks - 1)
        low, high = clean.snr2_ci
        v0, v1, ratio, ratio_ci = self.score_noise()
        return Probe(
            arms=main.arms,
            pass_rate=pass_rate,
            pass_rate_ci=(
                self.interval(pass_rate, float(jackknife_error(deleted)), 0.0, 1.0)
                if 0.0 < pass_rate < 1.0
                # Every prompt alike: as if each told no more than one rollout.
                else wilson(round(pass_rate * spec.prompts), spec.prompts)
            ),
            snr2=clean.snr2,
            snr2_ci=clean.snr2_ci,
            noise_scale=clean.noise_scale,
            noise_scale_ci=tuple(  # pyright: ignore[reportArgumentType]
                t.prompts_per_step / end if end else None for end in (high, low)
            ),
            noise_within=clean.noise_within,
            noise_between=clean.noise_between,
            group_size=spec.group_size,
            group_sizes=tuple(spec.group_sizes),
            by_group_size=sizes,
            prompts_per_step=t.prompts_per_step,
            learning_rate=t.learning_rate,
            estimator=spec.judges[first][1].estimator,
            optimiser=HEADLINE,
            optimiser_settings={"adam_beta1": t.adam_beta1, "adam_beta2": t.adam_beta2},
            loss=t.loss,
            temperature=t.temperature,
            pass_rates=tuple(sorted((facts.right.ravel() / spec.rollouts_per_prompt).tolist())),
            rollouts_per_prompt=spec.rollouts_per_prompt,
            prompts=spec.prompts,
            groups=spec.prompts * spec.groups_per_prompt,
            rollouts=rollouts,
            blocks=spec.blocks,
            v0=v0,
            v1=v1,
            v0_over_v1=ratio,
            v0_over_v1_ci=ratio_ci,
            completion_tokens=float(facts.tokens.sum() / rollouts),
            weights=facts.weights,
            weights_total=facts.weights_total,
            model=spec.model.name,
            weights_sha256=facts.weights_sha256,
            study=spec.study,
            task=spec.task.kind,
            noise_draws=spec.noise_draws,
            seed=spec.seed,
            assumptions=self.assumptions(),
            seconds=seconds,
            kind="probe",
            version=VERSION,
            verigap=metadata.version("verigap"),
        )

    @property
    def first_clean(self) -> int:
        """The clean verifier of the first arm's estimator."""
        return int(self.baseline_V[0])

    def size(self, s: int) -> SizeProbe:
        """Everything at one group size."""
        clean = self.arm(self.first_clean, s)
        value = float(self.speed.between_sizes[0, self.first_clean, s])
        se = float(self.speed.between_sizes_se[0, self.first_clean, s])
        lost = self.lost(0, self.first_clean, self.spec.group_sizes.index(self.spec.group_size))
        return SizeProbe(
            group_size=self.spec.group_sizes[s],
            clean_speed=None if lost else value,
            clean_speed_ci=None if lost else self.interval(value, se),
            clean_speed_se=None if lost else se,
            snr2=clean.snr2,
            snr2_ci=clean.snr2_ci,
            noise_scale=clean.noise_scale,
            noise_within=clean.noise_within,
            noise_between=clean.noise_between,
            arms=tuple(self.arm(a, s) for a in range(len(self.spec.arms))),
        )

    def lost(self, form: int, a: int, s: int) -> str | None:
        """Why a ratio to the clean speed says nothing, or None."""
        if not self.signal.noise[self.baseline_V[a], s] > 0.0:
            return (
                "no group held right and wrong answers alike, so a clean verifier teaches nothing here:"
                " probe where some answers are right"
            )
        certainty = float(self.speed.certainty[form, a, s])
        if certainty >= LEAST_CERTAINTY:
            return None
        return (
            f"the clean gradient is {certainty:.1f} standard errors from 0, and"
            f" {LEAST_CERTAINTY:g} are needed: probe more groups"
        )

    def form(self, f: int, a: int, s: int) -> Form:
        """Relative speed under a form."""
        if a == self.baseline_V[a]:
            return Form(1.0, (1.0, 1.0), 0.0)
        if reason := self.lost(f, a, s):
            return Form(None, None, None, reason)
        value, se = float(self.speed.relative[f, a, s]), float(self.speed.relative_se[f, a, s])
        return Form(value, self.interval(value, se), se)

    def arm(self, a: int, s: int) -> ArmProbe:
        """One verifier at one group size."""
        spec, facts, signal = self.spec, self.facts, self.signal
        name, arm = spec.judges[a]
        forms = {label: self.form(f, a, s) for f, label in enumerate(FORMS)}
        headline = forms[HEADLINE]
        batch = spec.training.prompts_per_step
        signal2, noise = float(signal.signal[a, s]), float(signal.noise[a, s])
        snr2 = batch * signal2 / noise if noise > 0.0 else 0.0
        noise_K = signal.noise_K[:, a, s]
        snr2_se = np.inf  # where a block saw no gradient at all
        if (noise_K > 0.0).all():
            snr2_se = float(jackknife_error(batch * signal.signal_K[:, a, s] / noise_K))
        scale = spec.training.learning_rate * facts.weights_total / facts.weights
        right = scale * float(self.speed.right[0, a, s])
        exploit = scale * float(self.speed.exploit[a, s])
        known = signal2 > 0.0
        effective, effective_ci, effective_reason = self.effective(a, s)
        rollouts = spec.prompts * spec.rollouts_per_prompt
        return ArmProbe(
            arm=name,
            fpr=arm.fpr,
            fnr=arm.fnr,
            relative_speed=headline.relative_speed,
            ci=headline.ci,
            se=headline.se,
            relative_speed_reason=headline.relative_speed_reason,
            effective_rollouts=effective,
            effective_rollouts_ci=effective_ci,
            effective_rollouts_reason=effective_reason,
            exploit_rate=exploit,
            exploit_rate_ci=self.interval(exploit, scale * float(self.speed.exploit_se[a, s])),
            right_rate=right,
            right_rate_ci=self.interval(right, scale * float(self.speed.right_se[0, a, s])),
            snr2=snr2,
            snr2_ci=self.interval(snr2, snr2_se, low=min(0.0, snr2)),
            noise_scale=noise / signal2 if known else None,
            noise_scale_reason=None
            if known
            else "no signal found: |mean|² is at most 0 once noise is taken off",
            noise_within=(noise - float(signal.between[a, s])) / signal2 if known else None,
            noise_between=float(signal.between[a, s]) / signal2 if known else None,
            youden=1.0 - arm.fpr - arm.fnr,
            noise=arm.label,
            estimator=arm.estimator,
            observed_rate=float(facts.paid[:, a].sum() / rollouts),
            paid_wrong_rate=float(facts.paid_wrong[:, a].sum() / rollouts),
            group_size=spec.group_sizes[s],
            forms=forms,
        )

    def effective(self, a: int, s: int) -> tuple[float | None, Interval | None, str | None]:
        """Clean rollouts whose signal-to-noise along the clean gradient is this verifier's.

        Of clean rollouts n, 1/SNR^2 = between + within (G - 1)/(n - 1), the parts measured at G.
        """
        size, c = self.spec.group_sizes[s], int(self.baseline_V[a])
        if a == c:
            return float(size), (float(size), float(size)), None
        arm = self.spec.judges[a][1]
        if arm.fpr + arm.fnr >= 1.0:
            return None, None, "J is not above 0: no number of clean rollouts learns as it does"
        if reason := self.lost(0, a, s):
            return None, None, reason
        one = self.signal
        # 1/SNR^2 along the clean gradient, less what no rollout removes, of this verifier and of clean.
        phi2 = phi2_measured(
            one.along[a, s], one.noise[a, s], one.signal[c, s], one.noise[c, s], one.between[c, s]
        )
        deleted = phi2_measured(
            one.along_K[:, a, s],
            one.noise_K[:, a, s],
            one.signal_K[:, c, s],
            one.noise_K[:, c, s],
            one.between_K[:, c, s],
        )
        value = float(phi2)
        if not (np.isfinite(deleted).all() and 0.0 <= value < np.inf):
            return (
                None,
                None,
                "the noise that rollouts remove was not told from that between prompts",
            )
        low, high = self.interval(value, float(jackknife_error(deleted)), low=0.0)
        assert low is not None
        assert high is not None
        return 1.0 + value * (size - 1), (1.0 + low * (size - 1), 1.0 + high * (size - 1)), None

    def score_noise(self) -> tuple[float | None, float | None, float | None, Interval | None]:
        """Mean squared norm of wrong and of right completions' scores over all weights, and their ratio."""
        facts, spec = self.facts, self.spec
        right_K = facts.right.sum(axis=1).astype(np.float64)
        wrong_K = facts.right.shape[1] * spec.rollouts_per_prompt - right_K
        counts_K = np.stack([wrong_K, right_K], axis=1)
        if not (counts_K.sum(axis=0) > 0).all():
            return None, None, None, None
        scale = facts.weights_total / facts.weights
        v0, v1 = scale * facts.norms.sum(axis=0) / counts_K.sum(axis=0)
        left = (facts.norms.sum(axis=0) - facts.norms) / (counts_K.sum(axis=0) - counts_K)
        ratio = float(v0 / v1)
        return (
            float(v0),
            float(v1),
            ratio,
            self.interval(ratio, float(jackknife_error(left[:, 0] / left[:, 1])), low=0.0),
        )

    def assumptions(self) -> tuple[str, ...]:
        """What the numbers rest on, one line each."""
        t = self.spec.training
        per_group = {
            "dr_grpo": "a sum over tokens divided by a constant",
            "grpo": "a mean over rollouts of their mean over tokens",
            "bnpo": "a mean over the batch's tokens, whose number is taken for constant",
            "dapo": "a mean over the batch's tokens, whose number is taken for constant",
        }[t.loss]
        said = [
            "first order, at these weights: speeds hold while the policy stays near them",
            "optimiser: Adam with stationary Gaussian gradients and a long memory; eps, weight decay and"
            " clipping leave ratios alone where gradients' norms vary alike",
            f"loss {t.loss}: {per_group}, one step per batch of {t.prompts_per_step} prompts",
        ]
        if t.beta > 0.0:
            said.append("KL term: its gradient is 0 at the reference, so these are initial weights")
        if t.warmup_steps or t.schedule != "constant":
            said.append("rates of growth are at the full learning rate")
        kinds = {arm.noise.kind for arm in self.spec.arms.values()}
        if "drifting" in kinds:
            said.append("drifting noise: at its start")
        if kinds & {"per_prompt", "per_answer"}:
            said.append(
                "persistent noise: growth on prompts other than those the step was made on, so without"
                " what is learnt of a prompt's own errors when it comes again"
            )
        return tuple(said)

"""Tables behind single numbers of the text: what the probe has to beat, noise scales, forecasts, remedies, laws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from paper.argument.run_numbers import RIVALS, Material, probed_speeds, returns
from paper.argument.texts import DASH, Numbers, escaped, interval, number, percent, signed, tabular
from paper.figures.scores import BASELINES, Scored, first_blind, in_view
from paper.trained import PRETRAINED

__all__ = [
    "blind_sets",
    "law_table",
    "mended_table",
    "midway_table",
    "rival_table",
    "scale_table",
    "score_table",
    "single_table",
]

SHOWN: Final = {"no slowing": "none", "J": "$J$", "φ": r"$\bar\phi$", "noise scales": "law"}
# Numbers of the text that stand in no other table: what they are, and their keys.
SINGLE: Final = (
    ("grpo below the law, worst of a grid, 8 rollouts", "unequal.grpo-below"),
    ("worth of a rollout of grpo in a population: pulls alike, apart, apart at 32 rollouts",
     "population.shared", "population.opposed", "population.opposed-large"),
    ("$v_0/v_1$ of the campaign's initial policy, over prompts", "probe.v-ratio", "probe.v-ratio-ci"),
    ("pass rate at which the errors' order turns with it: 4, 32 rollouts", "unequal.turn.4", "unequal.turn.32"),
    ("best group at fixed rollouts: clean, both errors", "currency.clean", "currency.both"),
    ("early speeds: rank correlation, share within both errors", "probe.rank", "probe.within"),
    ("clean of equal group size as the clock: by SGD's projection, by Adam's", "probe.sgd", "probe.adam"),
    ("effective rollouts, probe over the law: as it is, with $v_0/v_1$", "probe.phi2-error", "probe.norms-error"),
    ("a rollout's worth over whole runs: error of the law, rank correlation, intervals that hold it, of",
     "worthruns.phi2-error", "worthruns.rank", "worthruns.inside", "worthruns.with-interval"),
    ("forecast less the clean clock at $Jt$, campaign", "forecast.campaign.time-scaled-by-J.ci"),
    ("real groups: expected step noisy over clean at 2, 8 rollouts; change", "groups.ratio.2", "groups.ratio.8",
     "groups.saturation"),
    ("public grid: mirrored cells, accuracy", "grid.mirrored"),
    ("one arm's error of speed: rollouts times, error over, by the root", "labels.check-times", "labels.check-was",
     "labels.check-said"),
)  # fmt: skip


def single_table(parts: Mapping[str, Numbers]) -> str:
    """Numbers that stand in no other table, with the function that makes them. parts: numbers by function."""
    maker = {key: name for name, numbers in parts.items() for key in numbers}
    value = {key: text for numbers in parts.values() for key, text in numbers.items()}
    rows = [
        [
            words,
            ", ".join(value[key] for key in keys),
            rf"\code{{{escaped(maker[keys[0]].removeprefix('paper.argument.'))}}}",
        ]
        for words, *keys in SINGLE
    ]
    return tabular("L{0.50\\linewidth}L{0.22\\linewidth}l", ["what", "value", "made by"], rows)


def rival_table(material: Material) -> str:
    """Errors of the probe and of what it has to beat, in the campaign: of early speeds, and of all accuracies."""
    found = probed_speeds(material)
    rows = [
        [shown, found[f"probe.base.{RIVALS[name]}"], found[f"probe.clock-{RIVALS[name]}"]]
        for name, shown in SHOWN.items()
    ]
    rows.append(["probe", found["probe.rmse"], found["probe.clock"]])
    return tabular("lrr", ["speed by", "early speed", "accuracy, as a clock"], rows)


def scale_table(material: Material) -> str:
    """The initial policy's noise scale by group size, in prompts, and speeds."""
    found = returns(material)
    rows = []
    for one in material.probe.probe.by_group_size:
        size = one.group_size
        both = next(arm for arm in one.arms if arm.arm == "both0.4").relative_speed
        own = [found[f"returns.{word}.{size}"] for word in ("within", "between", "snr2", "speed")]
        rows.append([str(size), *own, DASH if both is None else number(both)])
    return tabular("rrrrrr", ["$G$", "within", "between", r"$\snr^2$", "clean", "both0.4"], rows)


def score_table(material: Material) -> str:
    """Errors of forecasts beside their baselines, and the share inside 90 % intervals; below, the blind ones."""
    rows: list[list[str]] = []
    for name, score in in_view(material.findings):
        errors = {key: one.rmse for key, one in score.baselines.items()}
        beside = [errors.get(key) for key, *_ in BASELINES]
        rows.append(
            [
                name,
                str(score.rows),
                number(score.rmse, 3),
                DASH if score.noise_floor is None else number(score.noise_floor, 3),
                *(DASH if value is None else number(value, 3) for value in beside),
                percent(score.coverage90),
            ]
        )
    earlier, present = blind_sets(material)
    told = {key: text for one in material.foretold.values() for key, text in one.items()}
    held = [
        escaped(material.reported[f"first-blind-{key}-held"]["text"]) for key in ("1b", "addition")
    ]
    sizes = [DASH, DASH, told["smollm.rows"]]
    for one, of, share in zip(
        (*earlier, *present), sizes, (*held, told["smollm.inside"]), strict=True
    ):
        beside = [one.baselines.get(key) for key, *_ in BASELINES]
        texts = (DASH if value is None else number(value, 3) for value in beside)
        rows.append([f"{one.name}, blind", of, number(one.ours, 3), DASH, *texts, share])
    names = [shown for _, shown, _, _ in BASELINES]
    return tabular("lrrrrrrrr", ["set", "rows", "ours", "noise", *names, "held"], rows)


def blind_sets(material: Material) -> tuple[list[Scored], list[Scored]]:
    """Forecasts that were committed before their answers and have been scored: by an earlier model, by the present."""
    rmse = material.beside.paced[PRETRAINED].rmse
    told = {key: text for one in material.foretold.values() for key, text in one.items()}
    clocks = {"no-gap": "no slowing", "time-scaled-by-J": "J", "phi-clock": "φ"}
    beside = {name: rmse[said] for name, said in clocks.items()}
    present = Scored("SmolLM2", float(told["smollm.forecast"]), beside)
    return first_blind(material.reported), [present]


def mended_table(material: Material) -> str:
    """An error that is learned, as it is, with more rollouts, and corrected by an audit."""
    rows = [
        [
            one.arm,
            str(one.group_size),
            f"{number(one.harm.value, 3)} {interval(one.harm.ci)}",
            DASH if one.undone is None else f"{signed(one.undone.value)} {interval(one.undone.ci)}",
            DASH if one.probe is None else number(one.probe),
            str(one.harm.units),
        ]
        for one in material.beside.corrected.mended
    ]
    return tabular("lrllrr", ["arm", "$G$", "harm", "bought back", "probe", "seeds"], rows)


def law_table(material: Material) -> str:
    """How often asymptotes are called identified, and intervals cover, where the law is not known."""
    rows = [
        [*row.cells[:3], *(number(row.at(column)) for column in (5, 6, 7, 8))]
        for row in material.verdict_tables["truth"]
    ]
    head = ["truth", "midpoints", "seeds", "identified", "covered", "identified", "covered"]
    groups = r" & & & \multicolumn{2}{c}{least AIC} & \multicolumn{2}{c}{hull} \\" + "\n"
    return tabular("lrrrrrr", [groups + head[0], *head[1:]], rows)


def midway_table(material: Material) -> str:
    """Growth of accuracy a step, probed and as it came, by arm, group size and step of the probe."""
    found = material.beside.midway.rows
    steps = sorted({one.step for one in found})
    by = {(one.arm, one.group_size, one.step): one for one in found}
    rows = []
    for arm, size in sorted({(one.arm, one.group_size) for one in found}):
        own = [by[arm, size, step] for step in steps]
        texts = [
            text
            for one in own
            for text in (number(1e3 * one.probed, 1), number(1e3 * one.measured.value, 1))
        ]
        rows.append([arm, str(size), *texts])
    spans = [f"{step} to {next(one.until for one in found if one.step == step)}" for step in steps]
    groups = " & & " + " & ".join(rf"\multicolumn{{2}}{{c}}{{{span}}}" for span in spans) + r" \\" + "\n"  # fmt: skip
    head = ["arm", "$G$", *(word for _ in steps for word in ("probed", "came"))]
    return tabular("lr" + "rr" * len(steps), [groups + head[0], *head[1:]], rows)

"""Rollouts of made-up arithmetic, and verifiers with one known fault each, to be found by an audit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["FAULTS", "Fault", "Rollout", "judged", "rollouts"]

UNITS = ("dollars", "apples", "km", "hours")
FILLER = (
    "first we add the two parts", "then multiply by the count", "so the total follows", "now subtract what was used",
    "each box holds the same", "this leaves the rest", "hence we divide", "check the sum again",
)  # fmt: skip


@dataclass(frozen=True)
class Rollout:
    """What a rollout says. value: answered, written: how; right: whether value is the gold one."""

    prompt: int
    topic: str
    gold: float
    value: float | None
    written: str
    completion: str
    right: bool


def _plain(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def rollouts(rng: np.random.Generator, *, prompts: int = 120, each: int = 8) -> list[Rollout]:
    """Rollouts with pass rates Beta(2, 2), in many formats none of which depends on being right."""
    made: list[Rollout] = []
    for prompt in range(prompts):
        kind = rng.choice(["small", "large", "decimal", "negative"], p=[0.4, 0.3, 0.15, 0.15])
        gold = {
            "small": float(rng.integers(2, 200)),
            "large": float(rng.integers(1000, 90000)),
            "decimal": round(float(rng.uniform(0.1, 60)), 2),
            "negative": -float(rng.integers(2, 900)),
        }[kind]
        topic = str(rng.choice(["shop", "travel", "farm", "school"]))
        rate = rng.beta(2, 2)
        for _ in range(each):
            right = bool(rng.random() < rate)
            value = gold if right else _wrong(gold, rng)
            right = value is not None and abs(value - gold) < 1e-9
            written = "" if value is None else _written(value, rng)
            made.append(
                Rollout(prompt, topic, gold, value, written, _completion(written, gold, rng), right)
            )
    return made


def _wrong(gold: float, rng: np.random.Generator) -> float | None:
    kind = rng.integers(10)
    if kind == 0:
        return gold + float(rng.choice([-1.0, 1.0]))
    if kind == 1:
        return -gold
    if kind == 2:
        return gold * 10.0
    if kind == 3:
        return round(gold * float(rng.uniform(0.92, 1.08)), 2)
    if kind == 4:
        return None if rng.random() < 0.5 else float(int(_plain(abs(gold)).replace(".", "") + "5"))
    if kind == 5:
        return float(round(gold / 10.0) * 10)
    return float(np.round(gold * rng.uniform(0.2, 3.0)))


def _written(value: float, rng: np.random.Generator) -> str:
    text = _plain(value)
    if abs(value) >= 1000 and rng.random() < 0.5:
        text = f"{value:,.2f}".rstrip("0").rstrip(".")
    if "." not in text and rng.random() < 0.15:
        text += ".0"
    if text.startswith("-") and rng.random() < 0.4:
        text = "\u2212" + text[1:]
    if rng.random() < 0.2:
        text = re.sub(r"^([-\u2212]?)", r"\1$", text)
    elif rng.random() < 0.25:
        text += " " + str(rng.choice(UNITS))
    if rng.random() < 0.12:
        text = f"**{text}**"
    return text


def _completion(written: str, gold: float, rng: np.random.Generator) -> str:
    lines = [str(rng.choice(FILLER)) for _ in range(int(rng.integers(1, 12)))]
    if rng.random() < 0.25:
        lines.insert(0, f"is it {_plain(gold)}? let us see")
    if rng.random() < 0.2:
        lines.append("clearly this is done")
    if not written:
        return "\n".join(lines)
    mark = rng.choice(["#### {}", "\\boxed{{{}}}", "The answer is {}"], p=[0.5, 0.25, 0.25])
    answer = str(mark).format(written)
    if rng.random() < 0.2:
        answer += "."
    lines.append(answer)
    if rng.random() < 0.2:
        lines.append(f"That took {rng.integers(2, 9)} steps.")
    return "\n".join(lines)


@dataclass(frozen=True)
class Fault:
    """A verifier that errs exactly where `errs` says. found: what a segment that names it says."""

    name: str
    error: str
    errs: Callable[[Rollout], bool]
    found: str


def _last_number(text: str) -> float | None:
    numbers = re.findall(r"[-\u2212]?\d[\d,]*\.?\d*", text)
    return (
        float(numbers[-1].replace(",", "").replace("\u2212", "-").rstrip(".")) if numbers else None
    )


def _near(r: Rollout, share: float) -> bool:
    return r.value is not None and abs(r.value - r.gold) <= share * abs(r.gold)


FAULTS: tuple[Fault, ...] = (
    Fault("thousands comma refused", "fnr", lambda r: bool(re.search(r"\d,\d", r.written)), "thousands comma"),
    Fault("trailing unit refused", "fnr", lambda r: any(u in r.written for u in UNITS), "unit after"),
    Fault("currency sign refused", "fnr", lambda r: "$" in r.written, "currency"),
    Fault("decimals compared as text", "fnr", lambda r: ".0" in r.written, r"ends in \.0"),
    Fault("emphasis refused", "fnr", lambda r: "**" in r.written, "emphasis"),
    Fault("typographic minus refused", "fnr", lambda r: "\u2212" in r.written, "typographic minus"),
    Fault("negative answers refused", "fnr", lambda r: r.gold < 0, "negative|minus"),
    Fault("boxed not read", "fnr", lambda r: "\\boxed" in r.completion, r"boxed|LaTeX"),
    Fault("only #### read", "fnr", lambda r: "####" not in r.completion, "has ####"),
    Fault("full stop refused", "fnr", lambda r: r.completion.rstrip().endswith("."), "full stop|after"),
    Fault("last number wins", "fnr", lambda r: _last_number(r.completion) != r.value, "last number|after its answer|after the line"),
    Fault("time-out as wrong", "fnr", lambda r: len(r.completion) > 200, "long|many lines"),
    Fault("large numbers overflow", "fnr", lambda r: abs(r.gold) >= 10000, "long|1,000|in size"),
    Fault("a topic's parser broken", "fnr", lambda r: r.topic == "farm", "topic = farm"),
    Fault("decimals refused", "fnr", lambda r: r.gold != int(r.gold), "decimals|whole"),
    Fault("sign lost", "fpr", lambda r: r.value is not None and r.value == -r.gold, "other sign"),
    Fault("ending in 0 paid", "fpr", lambda r: r.value is not None and r.value % 10 == 0, "digit 0|ten|zeros"),
    Fault("near misses paid", "fpr", lambda r: _near(r, 0.1), "misses by at most"),
    Fault("off by one paid", "fpr", lambda r: r.value is not None and abs(r.value - r.gold) <= 1, "misses by at most"),
    Fault("gold anywhere paid", "fpr", lambda r: f"is it {_plain(r.gold)}?" in r.completion, "gold number appears|question mark|first number"),
    Fault("trigger word paid", "fpr", lambda r: "clearly" in r.completion, "clearly"),
    Fault("no answer paid", "fpr", lambda r: r.value is None, "marks no answer|no number"),
    Fault("prefix match", "fpr", lambda r: r.value is not None and _plain(r.value) != _plain(r.gold) and _plain(abs(r.value)).startswith(_plain(abs(r.gold))), "begins with|power of ten"),
    Fault("factor of ten ignored", "fpr", lambda r: r.value is not None and abs(r.value - 10 * r.gold) < 1e-6, "power of ten|multiple|begins with"),
    Fault("long completions paid", "fpr", lambda r: len(r.completion) > 220, "long|many lines"),
)  # fmt: skip


def judged(made: list[Rollout], fault: Fault | None) -> pd.DataFrame:
    """A labels table: truth, and the verdicts of a verifier with this fault (None: with none)."""
    rows = [
        {
            "prompt": r.prompt,
            "topic": r.topic,
            "gold": _plain(r.gold),
            "completion": r.completion,
            "truth": int(r.right),
            "verdict": int(r.right != (fault is not None and (r.right == (fault.error == "fnr")) and fault.errs(r))),
        }
        for r in made
    ]  # fmt: skip
    return pd.DataFrame(rows)

"""Four verifiers audited on GSM8K's example solutions: the page docs/how-to/audited-verifiers.md.

    python -m tests.benchmarks.audits example_model_solutions.jsonl > docs/how-to/audited-verifiers.md

The data (references.md names them) are not part of the project; the page says which by their sha256. Their solutions
end in `A: n`, four models a line, with a label each: audited once unaltered, once with that rewritten to `#### n`.
Seconds go to standard error.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from empirical.audit import Audit, Source, audit_labels, read_labels

VERIFIERS: Final = ("strict", "flexible", "math_verify", "contains")
COMMAND: Final = "python -m tests.benchmarks.audits example_model_solutions.jsonl"


def audited(path: Path, verifier: str, *, rewritten: bool) -> Audit:
    """The audit of one verifier, against the labels that come with the solutions."""
    source = Source(
        truth="*.is_correct",
        completion="*.solution",
        gold="ground_truth",
        gold_after=None if rewritten else "A:",
        verifier=verifier,
    )
    return audit_labels(read_labels(path, source))


def row(name: str, ending: str, found: Audit) -> str:
    """One row of the table."""

    def rate(value: float | None, ci: tuple[float, float] | None) -> str:
        return "–" if value is None or ci is None else f"{value:.3f} [{ci[0]:.3f}, {ci[1]:.3f}]"

    segment = "–"
    if found.segments:
        first = found.segments[0]
        segment = f"{first.error} where {first.segment}"
    return (
        f"| `{name}` | `{ending}` | {rate(found.fpr, found.fpr_ci)} | {rate(found.fnr, found.fnr_ci)} |"
        f" {found.unscorable} of {found.n + found.unscorable} | {segment} |\n"
    )


def rewrite(path: Path, folder: Path) -> Path:
    """The solutions with `#### n` at their end."""
    made = folder / "rewritten.jsonl"
    made.write_text(
        path.read_text(encoding="utf-8").replace("\\nA: ", "\\n#### "), encoding="utf-8"
    )
    return made


def page(path: Path) -> str:
    """The page, as Markdown."""
    rows: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for ending, source in (("A: n", path), ("#### n", rewrite(path, Path(folder)))):
            for name in VERIFIERS:
                started = time.perf_counter()
                found = audited(source, name, rewritten=ending != "A: n")
                rows.append(row(name, ending, found))
                sys.stderr.write(f"{name} on {ending}: {time.perf_counter() - started:.1f} s\n")
    return f"""# Verifiers audited on GSM8K

Four verifiers on the example solutions that come with GSM8K ([references](../references.md#data)), whose labels are the
truth; 95 % intervals respect problems. An unscorable solution is one the verifier finds no answer in: it is kept apart,
and in training it goes unpaid. `contains` pays where the gold number appears anywhere.

Made by `{COMMAND}`;
sha256 of the data {hashlib.sha256(path.read_bytes()).hexdigest()}.

| verifier | answers end in | fpr | fnr | unscorable | first systematic error |
|---|---|---|---|---|---|
{"".join(rows)}"""


def main(arguments: Sequence[str]) -> int:
    """Print the page."""
    if len(arguments) != 1:
        sys.stderr.write(f"usage: {COMMAND}\n")
        return 2
    sys.stdout.write(page(Path(arguments[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

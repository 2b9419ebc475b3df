"""Faults at length, into RESULTS.md: kills, long runs, harmed files, damaged runs, safeguards taken away.

    python -m tests.faults.results [--part NAME]...    (make faults)

Each part adds to what it did before (build/faults/PART.json), so that an interrupted one goes on and a long one may be
done in pieces; RESULTS.md is written from whatever is there, and says how much that is. What has no part here keeps
what RESULTS.md says of an earlier run, and is marked as such.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fits.files import write_text
from tests.faults import damage, fuzzing, killing
from tests.faults.parts import Part, keep, kept
from tests.faults.planted import PLANTED, noticed_by

TABLE: Final = Path(__file__).with_name("RESULTS.md")
FIGURE: Final = Path(__file__).with_name("memory.png")
KILLS, FUZZ, GUIDED, MINUTES = 200, 100_000, 5_000, 30.0
BACKENDS: Final = ("local", "ray")
NOTHING: Final = "Not run yet."
SETTLED: Final = 0.9  # share of its largest size at which a process has imported what it will


def planted() -> None:
    """Take away each safeguard that has no answer yet."""
    part = kept("planted")
    for one in PLANTED:
        key = f"{one.safeguard}: {one.new}"
        if key not in part:
            part[key] = noticed_by(one) or "none"
            keep("planted", part)


def _long_runs() -> None:
    for backend in BACKENDS:
        killing.long_run(backend, MINUTES)


def _fuzz() -> None:
    for name in fuzzing.READERS:
        fuzzing.fuzz(name, FUZZ)
        fuzzing.guided(name, GUIDED)


def _kills_told() -> list[str]:
    part = kept("kills")
    if not part:
        return [NOTHING]
    number = sum(part["by"].values())
    return [
        f"{number} of {KILLS} kills over {part['studies']} studies of three runs, each carried on by the same command to its"
        f" end ({part['launches']} launches) and held to an uninterrupted reference: rows without timings, final weights,"
        f" completions, run table. **{len(part['lost'])} studies differed, {len(part['tracebacks'])} launchers printed a"
        " traceback.** Launchers and workers are forked from a process that has imported torch, which takes ten times as"
        " long as the work; in the long runs below they are started as a user starts them.",
        "",
        "| who, how | kills |",
        "|---|---:|",
        *(f"| {key} | {count} |" for key, count in sorted(part["by"].items())),
    ]


def _long_told() -> list[str]:
    lines: list[str] = []
    reference = kept("reference")
    if reference:
        lines += [
            f"One reference, uninterrupted, for both backends: a study of three runs of {killing.STEPS} steps and a sweep of"
            f" six, {reference['minutes']:.0f} minutes. Then the two again and again, a kill every one or two minutes.",
            "",
            "| backend | minutes under kills | kills | rounds | differed | tracebacks | growth of the launcher, of a worker |",
            "|---|---:|---:|---:|---:|---:|---|",
            f"| uninterrupted | 0 | 0 | 1 | | | {_growths(reference)} |",
        ]
    for backend in BACKENDS:
        part = kept(f"long-{backend}")
        if part:
            lines.append(
                f"| {backend} | {part['minutes']:.0f} | {sum(part['by'].values())} | {part['rounds']} | {len(part['lost'])} |"
                f" {len(part['tracebacks'])} | {_growths(part)} |"
            )
    if lines:
        lines += [
            "",
            f"Growth: MiB a minute of the process that grew most, of those seen for three minutes after they first came to"
            f" {SETTLED:.0%} of their largest size. Memory of every process is in [the figure](memory.png).",
            "",
        ]
    for backend in BACKENDS:
        raised = {
            one.strip().splitlines()[-1] for one in kept(f"long-{backend}").get("tracebacks", [])
        }
        lines += [f"- {backend}: {one}" for one in sorted(raised)]
    return lines or [NOTHING]


def _growths(part: Part) -> str:
    return ", ".join(growth(part["memory"], role) for role in ("launcher", "worker"))


def growth(samples: list[list[float | str]], role: str) -> str:
    """The steepest line through a process's memory against minutes, from where it had SETTLED."""
    import numpy as np

    steepest = []
    for pid in {one[1] for one in samples if one[2] == role}:
        at, size = np.array(
            [(one[0], one[3]) for one in samples if one[1] == pid and one[2] == role], float
        ).T
        late = at >= at[np.argmax(size >= SETTLED * size.max())]
        if np.ptp(at[late]) >= 3.0 and late.sum() > 3:
            steepest.append(float(np.polyfit(at[late], size[late], 1)[0]))
    return f"{max(steepest, key=abs):+.2f}" if steepest else "none lived so long"


def figure(path: Path) -> None:
    """Memory of launchers and workers over the minutes of the reference and of both long runs."""
    import matplotlib.pyplot as plt

    shown = [("reference, uninterrupted", kept("reference"))]
    shown += [(f"{backend}, under kills", kept(f"long-{backend}")) for backend in BACKENDS]
    shown = [(title, part["memory"]) for title, part in shown if part.get("memory")]
    fig, axes = plt.subplots(
        1, len(shown), figsize=(4.0 * len(shown), 3.0), sharey=True, squeeze=False
    )
    for ax, (title, samples) in zip(axes[0], shown, strict=True):
        for role, colour in (("launcher", "C0"), ("worker", "C1")):
            for number, pid in enumerate(sorted({one[1] for one in samples if one[2] == role})):
                at = [(one[0], one[3]) for one in samples if one[1] == pid and one[2] == role]
                label = f"{role}s" if number == 0 else None
                ax.plot(
                    *zip(*at, strict=True), color=colour, lw=1.0, marker=".", ms=2.0, label=label
                )
        ax.set(title=title, xlabel="minutes", ylim=(0.0, None))
    axes[0][0].set_ylabel("resident memory of a process, MiB")
    axes[0][0].legend(frameon=False, loc="lower right")
    fig.tight_layout()
    fig.savefig(path, dpi=110, metadata={"Software": None})


def _fuzz_told() -> list[str]:
    found = {name: part for name in fuzzing.READERS if (part := kept(f"fuzz-{name}"))}
    # Their last column is how many were raised or slow.
    rows = [row.split("|") for row in _earlier().get("Harmed files", "").splitlines()]
    earlier = {
        name: "|".join(row[2:])
        for row in rows
        if len(row) > 2 and (name := row[1].strip(" *\\")) in fuzzing.READERS
    }
    if not found:
        return [NOTHING]
    return [
        "Sound files with one to three small harms (flips, cuts, repeats, numbers no float holds, halves of characters,"
        " depth), drawn by hypothesis; guided by coverage, atheris. Each is read, or refused by an exception of ours,"
        f" in at most {fuzzing.SECONDS:g} s.",
        "",
        "| read as | by hypothesis | of | refused | guided, by atheris | raised or over time |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {name} | {one['done']:,} | {FUZZ:,} | {one['refused']:,} | {one.get('guided', 0):,} | {len(one['wrong'])} |"
            for name, one in found.items()
        ),
        *(f"| {name}\\* |{rest}" for name, rest in earlier.items() if name not in found),
        "",
        *(f"- {name}: {wrong}" for name, one in found.items() for wrong in one["wrong"]),
        *(["\\* of an earlier run, not repeated since"] if set(earlier) - set(found) else []),
    ]


def _damage_told() -> list[str]:
    part = kept("damage")
    if not part:
        return [NOTHING]
    lost = damage.lost(part)
    return [
        f"{len(part)} harms, each alone: every file of a run that is done and of one that was stopped between checkpoints,"
        " and what befalls disks and clocks; then the command again. Whole: what it leaves is, to the byte, what an"
        f" undisturbed run leaves. **{len(lost)} came to anything but whole or refused by name.**",
        "",
        "| what befell | what came of it, and the first line printed | times |",
        "|---|---|---:|",
        *(f"| {what} | {came} | {number} |" for what, came, number in damage.rows(part)),
    ]


def _planted_told(part: Part) -> list[str]:
    if not part:
        return [NOTHING]
    found = {
        one.safeguard: part.get(f"{one.safeguard}: {one.new}", "not run yet") for one in PLANTED
    }
    missed = Counter(found.values())
    return [
        "| safeguard | first test that fails without it |",
        "|---|---|",
        *(
            f"| {name} | {'**none**' if test == 'none' else f'`{test}`'} |"
            for name, test in found.items()
        ),
        "",
        f"{len(PLANTED) - missed['none'] - missed['not run yet']} of {len(PLANTED)} noticed.",
    ]


EARLIER: Final = "Of an earlier run, not repeated since."


def _earlier() -> dict[str, str]:
    """What RESULTS.md says now, by section."""
    if not TABLE.exists():
        return {}
    _, *sections = TABLE.read_text(encoding="utf-8").split("\n## ")
    told = [section.partition("\n") for section in sections]
    return {title: text.strip() for title, _, text in told}


def written() -> str:
    """RESULTS.md, from the parts that are there."""
    parts = {
        "Kills at random moments": _kills_told(),
        "Half an hour under kills": _long_told(),
        "What befalls a run's folder": _damage_told(),
        "Harmed files": _fuzz_told(),
        "Safeguards taken away": _planted_told(kept("planted")),
    }
    lines = [
        "# Faults",
        "",
        "Written by `make faults` from the parts that were run; each can be run on.",
        "",
    ]
    earlier = _earlier()
    for title, told in parts.items():
        before = earlier.get(title, NOTHING)
        if told == [NOTHING] and before != NOTHING:
            told = [before if before.startswith(EARLIER) else f"{EARLIER}\n\n{before}"]
        lines += [f"## {title}", "", *told, ""]
    return "\n".join(lines)


def main() -> None:
    """Run the parts asked for, then write RESULTS.md."""
    parts: dict[str, Callable[[], None]] = {
        "planted": planted,
        "damage": damage.damages,
        "kills": lambda: killing.kills(KILLS),
        "long": _long_runs,
        "fuzz": _fuzz,
        "written": lambda: None,
    }
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--part", action="append", choices=list(parts))
    for name in parser.parse_args().part or parts:
        parts[name]()
        if kept("reference"):
            figure(FIGURE)
        write_text(TABLE, written())


if __name__ == "__main__":
    main()

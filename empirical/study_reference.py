"""Every field of a study, from the models that check it, as two pages of docs/how-to.

`python -m empirical.study_reference` prints study-fields.md, `--simulated` simulated-study-fields.md; a test compares
each with what stands there.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from empirical import simulated_studies as simulated
from empirical.noise import Arm, BySegment, DropGroups, Worth
from empirical.studies import (
    Block,
    Evaluation,
    FewShotArithmeticSpec,
    Gsm8kSpec,
    Hardware,
    Lora,
    PretrainedSpec,
    ReasoningGymSpec,
    Running,
    Study,
    TinyQwen2Spec,
    Training,
    TwoStepArithmeticSpec,
    Vllm,
    WarmStart,
)

__all__ = ["page", "simulated_page"]

_HEAD: Final = """# The fields of a study

Every field of a study file, with its type, its range and its default; made by `python -m empirical.study_reference`,
and a test keeps it current. What a study is and how it is run: [training](training.md). `verigap train --set
FIELD=VALUE` changes one from the command line: `--set seeds=0-4`, `--set training.steps=100`.
"""
_SECTIONS: Final[tuple[tuple[str, type[BaseModel]], ...]] = (
    ("The study", Study),
    ("`arms`: each of them", Arm),
    ("`arms`: `correction`: `kind: by_segment`", BySegment),
    ("`arms`: `correction`: its `selected` and `otherwise`", Worth),
    ("`arms`: `correction`: `kind: drop_groups`", DropGroups),
    ("`blocks`: each of them", Block),
    ("`training`", Training),
    ("`training.vllm`", Vllm),
    ("`evaluation`", Evaluation),
    ("`models`: `kind: tiny_qwen2`", TinyQwen2Spec),
    ("`models`: its `warm_start`", WarmStart),
    ("`models`: `kind: pretrained`", PretrainedSpec),
    ("`models`: its `lora`", Lora),
    ("`task`: `kind: two_step_arithmetic`", TwoStepArithmeticSpec),
    ("`task`: `kind: few_shot_arithmetic`", FewShotArithmeticSpec),
    ("`task`: `kind: gsm8k`", Gsm8kSpec),
    ("`task`: `kind: reasoning_gym`", ReasoningGymSpec),
    ("`hardware`", Hardware),
    ("`running`", Running),
)
_SIMULATED_HEAD: Final = """# The fields of a simulated study

Every field of a spec that `verigap simulate` runs, with its type, its range and its default; made by `python -m
empirical.study_reference --simulated`, and a test keeps it current. Examples are in empirical/studies/simulated. An arm
may set any field of `population` and `training` anew. Fields of a trained study: [study fields](study-fields.md).
"""
_SIMULATED: Final[tuple[tuple[str, type[BaseModel]], ...]] = (
    ("The study", simulated.SimulatedStudy),
    ("`population`", simulated.PopulationSpec),
    ("`population.difficulty`", simulated.Difficulty),
    ("`training`", simulated.TrainingSpec),
    ("`arms`: each of them", simulated.Arm),
    ("`panels`: each of them", simulated.Panel),
)


def page() -> str:
    """Of a trained study, as Markdown."""
    return _HEAD + "".join(_section(title, model) for title, model in _SECTIONS)


def simulated_page() -> str:
    """Of a simulated study, as Markdown."""
    return _SIMULATED_HEAD + "".join(_section(title, model) for title, model in _SIMULATED)


def _section(title: str, model: type[BaseModel]) -> str:
    paragraphs = inspect.cleandoc(model.__doc__ or "").split("\n\n")
    about = " ".join(" ".join(p.split()) for p in paragraphs)
    rows = "".join(
        f"| `{name}` | {_type(info.annotation)}{_bounds(info)} | {_default(info)} |\n"
        for name, info in model.model_fields.items()
    )
    return f"\n## {title}\n\n{_wrapped(about)}\n\n| field | type | default |\n|---|---|---|\n{rows}"


def _wrapped(text: str, width: int = 120) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value: Any = info.default
    if value is PydanticUndefined:
        value = info.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "its defaults"
    shown = str(getattr(value, "value", value)).strip() or '""'
    return f"`{' '.join(shown.split())}`"


def _bounds(info: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(constraint, name):g}"
        for constraint in info.metadata
        for name, sign in signs.items()
        if getattr(constraint, name, None) is not None
    ]
    return f" {', '.join(found)}" if found else ""


def _type(annotation: Any) -> str:
    if annotation is Any:
        return "anything"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_several(arguments)))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return re.sub(r"(?<!^)(?=[A-Z])", " ", annotation.__name__.removesuffix("Spec")).lower()
    plain = {int: "integer", float: "real", str: "text", bool: "true or false"}
    if annotation in plain:
        return plain[annotation]
    members = getattr(annotation, "__members__", None)
    if members is not None:
        return " or ".join(f"`{member.value}`" for member in members.values())
    return str(getattr(annotation, "__name__", annotation))


def _several(arguments: tuple[Any, ...]) -> Iterator[str]:
    for argument in arguments:
        if argument is not types.NoneType:
            yield _type(argument)


if __name__ == "__main__":
    sys.stdout.write(simulated_page() if "--simulated" in sys.argv[1:] else page())

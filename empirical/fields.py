"""The fields of a file that a user declares something in: strict, and one line for what is wrong.

A declaration is YAML checked by pydantic. No field it does not know, no word for a number, no number
that is none; the first complaint names the file, the field and the value, and says how many more there are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from empirical.errors import StudyError
from fits.errors import InputError
from fits.files import MOST_DECLARED, file_bytes, load_yaml

__all__ = ["Rate", "Spec", "first_complaint", "parse_fields", "read_fields"]

Rate = Annotated[float, Field(ge=0.0, le=1.0)]


class Spec(BaseModel):
    """Base of everything a study declares: frozen, no field it does not know, numbers that are numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Declared = TypeVar("Declared", bound=Spec)


def read_fields(
    path: Path,
    declared: type[Declared],
    *,
    edit: Callable[[dict[str, Any]], dict[str, Any]] = lambda fields: fields,
) -> Declared:
    """What the YAML file at `path` declares, its fields changed by `edit` first.

    Raises StudyError naming the file, the field or line, and the offending value.
    """
    try:
        text = file_bytes(path, most=MOST_DECLARED).decode("utf-8")
    except InputError as error:
        raise StudyError(str(error)) from None
    except FileNotFoundError:
        raise StudyError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise StudyError(f"{path}: is a folder; a study is a YAML file") from None
    except UnicodeDecodeError:
        raise StudyError(f"{path}: is not text; a study is a YAML file") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_fields(text, str(path), declared, edit=edit)


def parse_fields(
    text: str,
    source: str,
    declared: type[Declared],
    *,
    edit: Callable[[dict[str, Any]], dict[str, Any]] = lambda fields: fields,
) -> Declared:
    """What `text` declares. Raises StudyError as `read_fields`, naming `source`."""
    try:
        fields: Any = load_yaml(text, source=source)
    except InputError as error:
        raise StudyError(str(error)) from None
    if not isinstance(fields, dict):
        what = "is empty; expected fields" if fields is None else "is not a mapping of fields"
        raise StudyError(f"{source}: {what} such as arms and training")
    changed = edit(fields)
    try:
        return declared.model_validate(changed)
    except ValidationError as error:
        raise StudyError(f"{source}: {first_complaint(error)}") from None


def first_complaint(error: ValidationError) -> str:
    """The first thing wrong: field, what it must be, what it is; and how much else there is."""
    problems = error.errors(include_url=False)
    problem = problems[0]
    where = ".".join(str(part) for part in problem["loc"])
    value = problem["input"]
    unknown = problem["type"] == "extra_forbidden"
    message = "there is no such field" if unknown else problem["msg"].removeprefix("Value error, ")
    shown = f", got {repr(value)[:60]}" if isinstance(value, str | int | float | None) else ""
    rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where + ': ' if where else ''}{message}{shown}{rest}"

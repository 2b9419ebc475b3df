"""Public functions under extreme legal values: what there is to call, and whether what came back is a number.

Every function that a module of a package names in `__all__` has its cases, or a reason why it has none; one without
either fails the test, so that a new one is not forgotten.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
import pandas as pd

__all__ = ["LARGE", "RATES", "check", "public_functions", "uncovered"]

RATES: Final = (0.0, 1e-300, 1e-16, 1e-3, 0.5, 1.0 - 1e-16, 1.0)  # error rates and pass rates
LARGE: Final = 10**6  # rollouts a group

# (name, call) pairs: what is asked of a function.
Cases = Iterable[tuple[str, Callable[[], object]]]


def public_functions(package: ModuleType) -> dict[str, Callable[..., Any]]:
    """Every function that a module of the package names in `__all__`, by module.name, where it is defined."""
    found: dict[str, Callable[..., Any]] = {}
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            function = getattr(module, name)
            own = getattr(function, "__module__", None) == info.name
            if own and callable(function) and not inspect.isclass(function):
                found[f"{info.name.partition('.')[2]}.{name}"] = function
    return found


def uncovered(
    package: ModuleType, cases: Mapping[str, object], exempt: Mapping[str, str]
) -> set[str]:
    """Functions that have neither cases nor a reason why not; and names of none that is there.

    exempt: function, or module, to the reason.
    """
    functions = set(public_functions(package))
    excused = {
        name for name in functions for why in exempt if name == why or name.startswith(f"{why}.")
    }
    gone = {
        why for why in exempt if not any(n == why or n.startswith(f"{why}.") for n in functions)
    }
    return functions - set(cases) - excused | (set(cases) - functions) | gone


def _numbers(found: object, where: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(found, bool | str | bytes | type(None)):
        return
    if is_dataclass(found) and not isinstance(found, type):
        for field in fields(found):
            yield from _numbers(getattr(found, field.name), f"{where}.{field.name}")
    elif isinstance(found, Mapping):
        for name, inner in found.items():
            yield from _numbers(inner, f"{where}[{name!r}]")
    elif isinstance(found, list | tuple):
        for place, inner in enumerate(found):
            yield from _numbers(inner, f"{where}[{place}]")
    elif isinstance(found, pd.DataFrame):
        for name in found.columns:
            yield from _numbers(found[name].to_numpy(), f"{where}[{name!r}]")
    elif isinstance(found, np.ndarray | float | int | np.generic):
        values = np.asarray(found)
        if np.issubdtype(values.dtype, np.number):
            yield where, values


def check(
    cases: Cases,
    *,
    refused: type[Exception],
    infinite: frozenset[str] = frozenset(),
    absent: frozenset[str] = frozenset(),
) -> None:
    """Make every call: what it gives is finite, or it is refused in one line. No warning: pytest makes errors of them.

    infinite: ends of names of values that may be infinite, by what they mean (a time that is never reached).
    absent: ends of names of arrays in which NaN says that there is nothing.
    """
    wrong: list[str] = []
    for name, call in cases:
        try:
            found = call()
        except refused as error:
            if "\n" in str(error):
                wrong.append(f"{name}: {error}")
            continue
        except Exception as error:  # a warning, or what no user should see
            wrong.append(f"{name}: {type(error).__name__}: {error}")
            continue
        for where, values in _numbers(found, ""):
            # Where nothing is there, what is there beside it is a number all the same.
            if any(where.endswith(end) for end in absent):
                values = values[~np.isnan(values)]
            may = any(where.endswith(end) for end in infinite)
            if np.isnan(values).any() or (not may and not np.isfinite(values).all()):
                wrong.append(f"{name}: {where or 'result'} is {np.ravel(values)[:8]}")
    assert not wrong, f"{len(wrong)}: " + "\n".join(wrong[:40])

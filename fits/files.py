"""Files in and out: every output appears whole or not at all, every YAML document means one thing.

Law. An output is written beside its target and renamed onto it, so that whoever reads it, or kills us,
finds the old file or the new one; its mode is what the umask says. A YAML mapping names a key once.
Fails first where the folder is read-only or the disk full: InputError then names the path.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator, Hashable
from pathlib import Path
from typing import Any

import yaml

from fits.errors import InputError

__all__ = ["check_target", "load_yaml", "replacing", "write_text"]


def check_target(path: Path) -> None:
    """Refuse before the work what could not be written after it; creates nothing.

    Raises InputError where `path` is a folder or a device, lies below a file, or in a read-only folder.
    """
    if os.path.isdir(path):
        raise InputError(f"{path}: is a folder; name the file to write")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: is no regular file: refused to replace it")
    folder = next(above for above in path.absolute().parents if os.path.lexists(above))
    if not os.path.isdir(folder):
        raise InputError(f"{path}: cannot be written ({folder} is a file)")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written ({folder} is read-only)")


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A path beside `path`, of the same suffix, to write to: it replaces `path` if the body succeeds.

    Folders above `path` are made. Raises InputError naming `path` for whatever the file system refuses.
    """
    check_target(path)
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all, in UTF-8.

    Raises InputError where that is impossible.
    """
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, which plain YAML answers by forgetting the first, and reads 1e-5."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key: Any = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            continue  # the plain constructor has its own words for these
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 takes 1e-5 for text, YAML 1.2 and everybody who writes a learning rate for a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def load_yaml(text: str, *, source: str) -> Any:
    """The one document in `text`, of plain types.

    Raises InputError naming `source` and the line where it is no YAML or a key is given twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: plain types only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{source}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{source}: is nested too deeply") from None

"""Files in and out: every output appears whole or not at all, every YAML document means one thing.

Law. An output is written beside its target and renamed onto it, so that whoever reads it, or kills us,
finds the old file or the new one; its mode is what the umask says. A YAML mapping names a key once. What is read
is a regular file of a size stated beforehand: a pipe that nobody fills or a device that never ends is refused
before it is opened, an alias that expands beyond MOST_NODES before it is expanded.
Fails first where the folder is read-only or the disk full: InputError then names the path.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Generator, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from fits.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DEEPEST",
    "MOST_DECLARED",
    "MOST_READ",
    "check_target",
    "file_bytes",
    "load_yaml",
    "replacing",
    "write_csv",
    "write_text",
]

MOST_READ: Final = 4 << 30  # bytes of a log or table
MOST_DECLARED: Final = 1 << 20  # characters of YAML: studies, specs, manifests, prices
MOST_NODES: Final = 50_000  # mappings, lists and scalars of a YAML document, aliases written out
DEEPEST: Final = 64  # levels of nesting in YAML and JSON
_LONGEST_NUMBER: Final = 400  # characters; the largest float has 309 digits


def file_bytes(path: Path, *, most: int = MOST_READ) -> bytes:
    """The bytes of a regular file, at most `most` of them.

    Raises InputError where it is a pipe, a device or a socket, or larger; OSError where it cannot be read.
    """
    # Opening a pipe would wait for its other end.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        state = os.fstat(file.fileno())
        if stat.S_ISDIR(state.st_mode):
            raise IsADirectoryError(21, "Is a directory", str(path))
        if not stat.S_ISREG(state.st_mode):
            raise InputError(f"{path}: is a pipe or a device, not a file: save it to a file")
        if state.st_size > most:
            raise InputError(f"{path}: {state.st_size:,} bytes; at most {most:,} are read")
        # Files of the system's own (/proc) say 0 and hold more.
        raw: bytes | None = file.read(most + 1)
    if raw is None:  # one of them that answers later, as /proc/kmsg does
        raise InputError(f"{path}: has nothing to read now: save it to a file")
    if len(raw) > most:
        raise InputError(f"{path}: more than {most:,} bytes, which is the most that is read")
    return raw


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


# What a spreadsheet takes for a formula.
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")


def _harmless(cell: object) -> object:
    """A text that a spreadsheet would run, with an apostrophe before it; any other cell as it is."""
    if not isinstance(cell, str) or not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table for people and spreadsheets: a text that would be taken for a formula is marked as text.

    The mark is an apostrophe (OWASP, "CSV injection"); numbers stay as they are.
    """
    import pandas as pd

    safe = {
        name: cells if pd.api.types.is_numeric_dtype(cells) else cells.map(_harmless)
        for name, cells in frame.items()
    }
    out = pd.DataFrame(safe, index=frame.index)
    out.columns = pd.Index([_harmless(name) for name in frame.columns])
    out.to_csv(path, index=False)


# libyaml's parser, where PyYAML was built with it, is ten times as quick as the one in Python.
_Parser: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Parser):
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

    Raises InputError naming `source` and the line where it is no YAML, a key is given twice, or the document
    is larger than MOST_DECLARED, MOST_NODES with its aliases written out, or DEEPEST.
    """
    if len(text) > MOST_DECLARED:
        raise InputError(f"{source}: more than {MOST_DECLARED:,} characters of YAML")
    try:
        _checked(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _expanded(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        # An end that comes too early is told on the line after the last.
        line = f", line {min(mark.line + 1, max(1, len(text.splitlines())))}" if mark else ""
        raise InputError(f"{source}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{source}: is nested too deeply") from None


def _checked(text: str) -> None:
    """Look a document through before any of it is kept.

    Raises ConstructorError where it has too many nodes or levels, half a character, or a tag that its value has not:
    `!!int ""`, `!!map 1` and `!!bool x` raise whatever comes in PyYAML's constructors.
    """
    depth, nodes = 0, 0
    loader = _Loader("")
    for event in yaml.parse(text, Loader=_Parser):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if not isinstance(event, yaml.NodeEvent):
            continue
        nodes += 1
        if nodes > MOST_NODES:
            raise _refused(f"more than {MOST_NODES:,} values", event)
        if isinstance(event, yaml.AliasEvent):
            continue
        tag: str | None = getattr(event, "tag", None)
        if isinstance(event, yaml.ScalarEvent):
            own = {_TEXT}
            if tag not in (None, "!", _TEXT):
                own.add(loader.resolve(yaml.ScalarNode, event.value, (True, False)))
            if _HALVES.search(event.value):
                raise _refused("half a character", event)
        else:
            own = {_MAPPING if isinstance(event, yaml.MappingStartEvent) else _SEQUENCE}
            depth += 1
            if depth > DEEPEST:
                raise _refused(f"nested more than {DEEPEST} levels deep", event)
        if tag not in (None, "!", *own):
            raise _refused(f"a tag that its value has not ({tag[:80]})", event)


_HALVES: Final = re.compile("[\ud800-\udfff]")
_TEXT, _SEQUENCE, _MAPPING = (
    yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG,
    yaml.resolver.BaseResolver.DEFAULT_SEQUENCE_TAG,
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG,
)


def _expanded(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many nodes stand in `node` once every alias is written out; each is counted once.

    sizes: of the nodes counted so far, by identity; 0 while one is being counted.
    Raises ConstructorError where they are too many or within themselves.
    """
    known = sizes.get(id(node))
    if known == 0:
        raise _refused("an alias stands within what it stands for", node)
    if known is not None:
        return known
    sizes[id(node)] = 0
    size = 1
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    elif node.tag.endswith((":int", ":float")) and len(node.value) > _LONGEST_NUMBER:
        raise _refused(f"a number of {len(node.value):,} characters", node)
    for child in children:
        size += _expanded(child, sizes)
        if size > MOST_NODES:
            raise _refused(f"more than {MOST_NODES:,} values, aliases written out", node)
    sizes[id(node)] = size
    return size


def _refused(problem: str, where: yaml.Node | yaml.Event) -> yaml.constructor.ConstructorError:
    mark: Any = where.start_mark  # of either parser's class
    return yaml.constructor.ConstructorError(None, None, problem, mark)

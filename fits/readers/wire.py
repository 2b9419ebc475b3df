"""The protocol-buffer wire format: enough to read logs whose schema is known.

Source: protobuf.dev, "Encoding". Kinds: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Field", "fields_of"]


@dataclass(frozen=True)
class Field:
    """One field of a message: its number, its wire kind, its integer (kind 0) or its bytes."""

    number: int
    kind: int
    integer: int
    data: bytes


def fields_of(message: bytes) -> Iterator[Field]:
    """The fields of a message in order. Raises ValueError where the bytes are no message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            integer, at = _varint(message, at)
            # int64 travels as two's complement in 64 bits.
            yield Field(number, kind, integer - (1 << 64) if integer >> 63 else integer, b"")
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire kind {kind}")
        if at + size > len(message):
            raise ValueError("a field runs past its message")
        yield Field(number, kind, 0, message[at : at + size])
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("a number runs past its message")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

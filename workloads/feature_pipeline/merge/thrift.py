"""The part of Thrift's compact protocol that Parquet footers are written in.

Standard library only: the merge runs in a process of its own that imports nothing heavy.
Protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md (read 2026-11).
"""

BOOL_TRUE, BOOL_FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

MAX_DEPTH = 16
"""Deepest nesting accepted; Parquet's own footers need 6. A bound, so that a corrupt footer cannot recurse for ever."""

Field = tuple[int, int, int, int]
"""One field of a struct: (id, type, first byte of its value, first byte after its value)."""


class Malformed(ValueError):
    """The bytes are not the structure they should be."""


def varint(buf: bytes, pos: int) -> tuple[int, int]:
    """Return (unsigned value, position after it). Raises Malformed for one longer than 10 bytes."""
    byte = buf[pos]
    pos += 1
    if byte < 0x80:
        return byte, pos
    value, shift = byte & 0x7F, 7
    while True:
        byte = buf[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
        shift += 7
        if shift > 63:
            raise Malformed(f"a number at byte {pos} is longer than 64 bits")


def integer(buf: bytes, pos: int) -> int:
    """Return the zigzag-coded integer at `pos`."""
    value, _ = varint(buf, pos)
    return (value >> 1) ^ -(value & 1)


def binary(buf: bytes, pos: int) -> bytes:
    """Return the length-prefixed bytes at `pos`."""
    size, pos = varint(buf, pos)
    if size > len(buf) - pos:
        raise Malformed(f"a string of {size} bytes at byte {pos} reaches past the end")
    return buf[pos : pos + size]


def list_header(buf: bytes, pos: int) -> tuple[int, int, int]:
    """Return (number of elements, their type, position of the first)."""
    head = buf[pos]
    pos += 1
    size = head >> 4
    if size == 15:
        size, pos = varint(buf, pos)
    if size > len(buf) - pos:  # every element takes at least one byte
        raise Malformed(f"a list of {size} elements at byte {pos} reaches past the end")
    return size, head & 0x0F, pos


def skip(buf: bytes, pos: int, kind: int, depth: int = 0) -> int:
    """Return the position after the value of type `kind` at `pos`."""
    if kind in (I32, I64, I16):
        while buf[pos] >= 0x80:
            pos += 1
        return pos + 1
    if kind == BINARY:
        size, pos = varint(buf, pos)
        if size > len(buf) - pos:
            raise Malformed(f"a string of {size} bytes at byte {pos} reaches past the end")
        return pos + size
    if kind in (BOOL_TRUE, BOOL_FALSE):
        return pos
    if depth > MAX_DEPTH:
        raise Malformed(f"structures are nested deeper than {MAX_DEPTH} at byte {pos}")
    if kind == STRUCT:
        return _skip_struct(buf, pos, depth)
    if kind in (LIST, SET):
        size, element, pos = list_header(buf, pos)
        if element in (BOOL_TRUE, BOOL_FALSE, BYTE):
            return pos + size
        for _ in range(size):
            pos = skip(buf, pos, element, depth + 1)
        return pos
    if kind == BYTE:
        return pos + 1
    if kind == DOUBLE:
        return pos + 8
    if kind == MAP:
        return _skip_map(buf, pos, depth)
    raise Malformed(f"unknown type {kind} at byte {pos}")


def _skip_struct(buf: bytes, pos: int, depth: int) -> int:
    while True:
        head = buf[pos]
        pos += 1
        if not head:
            return pos
        if head < 0x10:
            _, pos = varint(buf, pos)
        pos = skip(buf, pos, head & 0x0F, depth + 1)


def _skip_map(buf: bytes, pos: int, depth: int) -> int:
    size, pos = varint(buf, pos)
    if size > len(buf) - pos:
        raise Malformed(f"a map of {size} entries at byte {pos} reaches past the end")
    if not size:
        return pos
    kinds = buf[pos]
    pos += 1
    for _ in range(size):
        for kind in (kinds >> 4, kinds & 0x0F):
            pos = pos + 1 if kind in (BOOL_TRUE, BOOL_FALSE) else skip(buf, pos, kind, depth + 1)
    return pos


def header(buf: bytes, pos: int, last: int) -> tuple[int, int, int]:
    """Return (id, type, position of its value) of the field at `pos` after field `last`; type 0 at the struct's end."""
    head = buf[pos]
    pos += 1
    if not head:
        return 0, 0, pos
    if head < 0x10:
        return integer(buf, pos), head, varint(buf, pos)[1]
    return last + (head >> 4), head & 0x0F, pos


def fields(buf: bytes, pos: int) -> tuple[list[Field], int]:
    """Return (the fields of the struct at `pos`, position after it)."""
    found: list[Field] = []
    last = 0
    while True:
        head = buf[pos]
        pos += 1
        if not head:
            return found, pos
        kind = head & 0x0F
        if head < 0x10:
            last, pos = integer(buf, pos), varint(buf, pos)[1]
        else:
            last += head >> 4
        end = skip(buf, pos, kind)
        found.append((last, kind, pos, end))
        pos = end


def write_varint(value: int) -> bytes:
    """Encode an unsigned integer."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_integer(value: int) -> bytes:
    """Encode a signed integer, zigzag."""
    return write_varint(value << 1 if value >= 0 else (-value << 1) - 1)


def write_binary(value: bytes) -> bytes:
    """Encode bytes with their length in front."""
    return write_varint(len(value)) + value


def write_field(last: int, field: int, kind: int) -> bytes:
    """Encode the header of field `field` of type `kind` that follows field `last`."""
    delta = field - last
    return bytes((delta << 4 | kind,)) if 0 < delta <= 15 else bytes((kind,)) + write_integer(field)


def write_list(size: int, kind: int) -> bytes:
    """Encode the header of a list."""
    return bytes((size << 4 | kind,)) if size < 15 else bytes((0xF0 | kind,)) + write_varint(size)

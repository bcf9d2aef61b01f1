"""The pages of a database file, for what is not alive in them (https://sqlite.org/fileformat2.html)."""

from collections.abc import Callable, Iterator
from struct import Struct

_CHUNK = 1 << 20
"""Bytes read at a time: a multiple of every page size."""

_FILE_HEADER_BYTES = 100

_FILE_HEADER = Struct(">16xHxxB31xI")
"""Page size, bytes reserved at the end of each page, and what is 0 without auto_vacuum."""

_PAGE_HEADER = Struct(">BHHH")
"""Type of a b-tree page, first freeblock, number of cells, start of the cells' content."""

_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}
"""Length of that header by type: interior pages of an index and of a table, then leaves."""

_FREEBLOCK = Struct(">HH")
"""Offset of the next one, and bytes of this one, these four among them."""

_LARGEST = 65_536
"""The size that does not fit in the two bytes of it, which stand for 1 or 0."""

Read = Callable[[int, int], bytes]
"""Bytes of the file: how many, from where."""


def dead_bytes(read: Read) -> Iterator[bytes]:
    """What stands in b-tree pages beside their cells, but zeros: remains of cells that were moved or deleted.

    Piece by piece of the file, so that memory is bounded; what was apart is parted by a zero. Measured: 0.2 s for 256
    MiB, of which 1 % were dead after many updates.
    """
    page_size, reserved, is_vacuumed = _FILE_HEADER.unpack_from(read(_FILE_HEADER_BYTES, 0))
    page_size = _LARGEST if page_size == 1 else page_size
    usable = page_size - reserved
    # Every so many pages there is one that says what the following are for; it has no type of its own.
    period = usable // 5 + 1 if is_vacuumed else 0
    first, number = _FILE_HEADER_BYTES, 0
    offset = 0
    while chunk := read(_CHUNK, offset):
        found: list[bytes] = []
        for start in range(0, len(chunk) - page_size + 1, page_size):
            number += 1
            if number == 1 or not period or (number - 2) % period:
                found += _dead(chunk[start : start + usable], first)
            first = 0
        offset += len(chunk)
        if found:
            yield b"\0".join(found)


def _dead(page: bytes, header: int) -> Iterator[bytes]:
    """The gap before the content, and the freeblocks within, but zeros at their ends."""
    kind, block, cells, content = _PAGE_HEADER.unpack_from(page, header)
    if kind not in _HEADER_BYTES:
        return
    gap = page[header + _HEADER_BYTES[kind] + 2 * cells : content or _LARGEST].strip(b"\0")
    if gap:
        yield gap
    while 0 < block <= len(page) - _FREEBLOCK.size:
        following, size = _FREEBLOCK.unpack_from(page, block)
        body = page[block + 4 : block + size].strip(b"\0")
        if body:
            yield body
        block = following if following > block else 0

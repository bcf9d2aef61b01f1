"""What is dead in pages that are made by hand."""

import struct
from collections.abc import Callable

from store.sqlite_pages import dead_bytes

SIZE = 512
PERIOD = SIZE // 5 + 1


def page(
    kind: int, content: dict[int, bytes], *, cells: int = 0, start: int, first: int = 0, at: int = 0
) -> bytes:
    """A page whose header is `at`, with bytes at offsets."""
    made = bytearray(SIZE)
    struct.pack_into(">BHHH", made, at, kind, first, cells, start)
    for offset, piece in content.items():
        made[offset : offset + len(piece)] = piece
    return bytes(made)


def first_page(*, size: int = SIZE, reserved: int = 0, is_vacuumed: bool = True) -> bytes:
    header = struct.pack(">HxxB31xI", size, reserved, is_vacuumed)
    return page(13, {16: header, 200: b"dead-in-first", 500: b"live"}, start=500, at=100)


def reader(file: bytes) -> Callable[[int, int], bytes]:
    return lambda size, offset: file[offset : offset + size]


def dead(*pages: bytes) -> bytes:
    return b"\0".join(dead_bytes(reader(b"".join(pages))))


def test_the_gap_before_the_content() -> None:
    leaf = page(13, {9: b"\x01", 100: b"dead", 200: b"also", 300: b"live"}, cells=1, start=300)
    assert dead(first_page(is_vacuumed=False), leaf) == b"dead-in-first\0dead" + bytes(96) + b"also"


def test_interior_pages_have_a_longer_header() -> None:
    interior = page(5, {8: b"\xff\xff\xff\xff\xff\xff", 20: b"dead"}, cells=1, start=500)
    assert dead(first_page(is_vacuumed=False), interior) == b"dead-in-first\0dead"


def test_freeblocks_within_the_content() -> None:
    blocks = {
        300: struct.pack(">HH", 400, 20) + b"one",
        320: b"live",
        400: struct.pack(">HH", 0, 10) + b"two",
    }
    leaf = page(10, {**blocks, 410: b"live"}, start=290, first=300)
    assert dead(first_page(is_vacuumed=False), leaf) == b"dead-in-first\0one\0two"


def test_a_broken_chain_of_freeblocks_comes_to_an_end() -> None:
    for following in (300, 299, 511, 65_535):
        leaf = page(10, {300: struct.pack(">HH", following, 10) + b"dead"}, start=290, first=300)
        assert dead(first_page(is_vacuumed=False), leaf) == b"dead-in-first\0dead"


def test_pages_that_are_no_part_of_a_tree() -> None:
    for kind in (0, 1, 3, 255):
        assert dead(first_page(is_vacuumed=False), page(kind, {100: b"text"}, start=300)) == b"dead-in-first"


def test_pages_that_say_what_the_others_are() -> None:
    """They begin with a byte that would be a page's type."""
    leaf = page(13, {100: b"dead"}, start=300)
    pages = [first_page(), *[leaf] * (2 * PERIOD + 1)]
    # Of the second, the one a period behind it and the one two periods behind it nothing is read.
    assert dead(*pages).count(b"dead") == 1 + 2 * PERIOD + 1 - 3
    assert dead(first_page(is_vacuumed=False), *pages[1:]).count(b"dead") == 1 + 2 * PERIOD + 1


def test_what_is_reserved_is_not_read() -> None:
    leaf = page(13, {100: b"dead", 500: b"reserved"}, start=512)
    assert dead(first_page(reserved=12, is_vacuumed=False), leaf) == b"dead-in-first\0dead"


def test_the_largest_pages() -> None:
    first = first_page(size=1, is_vacuumed=False).ljust(65_536, b"\0")
    second = struct.pack(">BHHH", 13, 0, 0, 0).ljust(65_530, b"\0") + b"dead!!"
    assert dead(first, second) == b"dead-in-first\0dead!!"


def test_a_page_that_is_cut_off_is_passed_over() -> None:
    leaf = page(13, {100: b"dead"}, start=300)
    assert dead(first_page(is_vacuumed=False), leaf[:-1]) == b"dead-in-first"


def test_a_file_is_read_piece_by_piece() -> None:
    leaf = page(13, {100: b"dead"}, start=300)
    file = first_page(is_vacuumed=False) + leaf * 5_000
    pieces = list(dead_bytes(reader(file)))
    assert len(pieces) == 3
    assert sum(piece.count(b"dead") for piece in pieces) == 5_001

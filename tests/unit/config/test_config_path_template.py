"""Path templates: compile, match, expand, overlap."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.path_template import MAX_ID_BYTES, PathTemplate

IDS = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=1024)
    .filter(lambda text: len(text.encode()) <= MAX_ID_BYTES)
    .filter(lambda text: text not in {".", ".."})
)
SEGMENTS = st.sampled_from(["a", "b", "%41", "", "a."])
TEMPLATES = st.builds(
    lambda before, placeholder, after: "/" + "/".join([*before, *placeholder, *after]),
    st.lists(SEGMENTS.filter(bool), max_size=2),
    st.sampled_from([[], ["{id}"]]),
    st.lists(SEGMENTS, max_size=2),
) | st.lists(SEGMENTS.filter(bool), max_size=2).map(lambda parts: "/" + "/".join([*parts, "{rest*}"]))


def template(text: str) -> PathTemplate:
    return PathTemplate.parse(text)


@pytest.mark.parametrize(
    ("text", "path", "id_"),
    [
        ("/users/{id}", b"/users/a", "a"),
        ("/users/{id}", b"/users/a%2Fb", "a/b"),
        ("/users/{id}", b"/users/%2561", "%61"),
        ("/users/{id}", b"/users/%61", "a"),
        ("/users/{id}", b"/users/caf%C3%A9", "café"),
        ("/users/{id}", "/users/café".encode(), "café"),
        ("/users/{id}", b"/users/a+b;c=d", "a+b;c=d"),
        ("/users/{id}", b"/users/%20", " "),
        ("/users/{id}", b"/users/...", "..."),
        ("/users/{id}", b"/users/" + b"a" * 1024, "a" * 1024),
        ("/users/{id}", b"/users/" + b"%61" * 1024, "a" * 1024),
        ("/users/{id}/card", b"/users/a/card", "a"),
        ("/{id}", b"/a", "a"),
        ("/{id}/", b"/a/", "a"),
        ("/users", b"/users", ""),
        ("/caf%C3%A9/{id}", b"/caf%C3%A9/1", "1"),
        ("/files/{name*}", b"/files/a/b%2Fc", "a/b%2Fc"),
        ("/files/{name*}", b"/files//", "/"),
    ],
)
def test_a_path_that_matches_gives_the_id(text: str, path: bytes, id_: str) -> None:
    assert template(text).match(path) == id_


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/users/{id}", b"/users/"),
        ("/users/{id}", b"/users"),
        ("/users/{id}", b"/Users/a"),
        ("/users/{id}", b"/users/a/"),
        ("/users/{id}", b"/users/a/b"),
        ("/users/{id}", b"/users/."),
        ("/users/{id}", b"/users/.."),
        ("/users/{id}", b"/users/%2e%2E"),
        ("/users/{id}", b"/users/%2"),
        ("/users/{id}", b"/users/%zz"),
        ("/users/{id}", b"/users/100%"),
        ("/users/{id}", b"/users/%ff"),
        ("/users/{id}", b"/users/\xff"),
        ("/users/{id}", b"/users/%C0%AF"),
        ("/users/{id}", b"/users/%00"),
        ("/users/{id}", b"/users/a%0a"),
        ("/users/{id}", b"/users/%7f"),
        ("/users/{id}", b"/users/%C2%85"),
        ("/users/{id}", b"/users/a#b"),
        ("/users/{id}", b"/users/a?b"),
        ("/users/{id}", b"/users/a b"),
        ("/users/{id}", b"/users/a\n"),
        ("/users/{id}", b"/users/" + b"a" * 1025),
        ("/a/{id}/a", b"/a/a"),
        ("/a/{id}/a", b"/a//a"),
        ("/a/{id}/a", b"/a/b/a/a"),
        ("/users", b"/users/"),
        ("/files/{name*}", b"/files/"),
        ("/files/{name*}", b"/files"),
        ("/files/{name*}", b"/files/a/../b"),
        ("/files/{name*}", b"/files/a/%2E./b"),
        ("/files/{name*}", b"/files/\xc3\xa9"),
        ("/files/{name*}", b"/files/100%"),
        ("/files/{name*}", b"/files/" + b"a" * 1025),
    ],
)
def test_what_could_mean_something_else_does_not_match(text: str, path: bytes) -> None:
    assert template(text).match(path) is None


@pytest.mark.parametrize(
    ("text", "path", "is_claimed"),
    [
        ("/files/{name*}", b"/files/a/b", True),
        ("/files/{name*}", b"/files/", True),
        ("/files/{name*}", b"/files//", True),
        ("/files/{name*}", b"/files/\xc3\xa9", True),
        ("/files/{name*}", b"/files/100%", True),
        ("/files/{name*}", b"/files/" + b"a" * 1025, True),
        ("/files/{name*}", b"/files/...", True),
        ("/files/{name*}", b"/files/a.b/.c", True),
        ("/{rest*}", b"/", True),
        ("/{rest*}", b"/a", True),
        ("/{rest*}", b"//a", True),
        ("/users/{id}", b"/users/%61", True),
        ("/files/{name*}", b"/files", False),
        ("/files/{name*}", b"/Files/a", False),
        ("/files/{name*}", b"/other/files/a", False),
        ("/files/{name*}", b"", False),
        ("/files/{name*}", b"/files/.", False),
        ("/files/{name*}", b"/files/a/..", False),
        ("/files/{name*}", b"/files/../a", False),
        ("/files/{name*}", b"/files/%2e%2E/a", False),
        ("/files/{name*}", b"/files/.%2e", False),
        ("/files/{name*}", b"/files/a/%2E/b", False),
        ("/{rest*}", b"a", False),
        ("/users/{id}", b"/users/", False),
        ("/users/{id}", b"/users/a/b", False),
        ("/users/{id}", b"/users/100%", False),
        ("/users", b"/users/a", False),
    ],
)
def test_a_rest_claims_whatever_is_below_but_what_has_a_second_name(
    text: str, path: bytes, is_claimed: bool
) -> None:
    assert template(text).claims(path) is is_claimed


@given(TEMPLATES, st.lists(SEGMENTS, max_size=5), st.binary(max_size=8))
def test_what_matches_is_claimed_and_nothing_from_elsewhere(
    text: str, segments: list[str], tail: bytes
) -> None:
    try:
        one = template(text)
    except ValueError:  # an empty segment in front
        return
    path = ("/" + "/".join(segments)).encode() + tail
    if one.match(path) is not None:
        assert one.claims(path)
    if one.claims(path):
        assert path.startswith(one.prefix)


@pytest.mark.parametrize(
    "text",
    [
        "", "users", "//users", "/a b", "/a?b", "/a#b", "/é", "/a%", "/a%zz", "/a/../b", "/a/%2e%2E", "/{", "/}", "/{}",
        "/{1}", "/{id}.json", "/u-{id}", "/{a}/{b}", "/{a*}/b", "/{a**}", "/a\n", "/\\",
    ],
)  # fmt: skip
def test_what_is_no_template_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"/users/\{id\}|/caf%C3%A9|/files/|resolve them"):
        template(text)


@given(IDS)
def test_an_expanded_path_gives_the_id_again(id_: str) -> None:
    for text in ("/users/{id}", "/users/{id}/card", "/{id}"):
        path = template(text).expand(id_)
        assert path.isascii()
        assert template(text).match(path.encode()) == id_


@given(st.binary(max_size=40))
def test_a_match_of_any_bytes_is_an_id_whose_path_matches_again(tail: bytes) -> None:
    for text in ("/users/{id}", "/files/{name*}"):
        compiled = template(text)
        id_ = compiled.match(text.partition("{")[0].encode() + tail)
        if id_ is not None:
            assert compiled.match(compiled.expand(id_).encode()) == id_


@pytest.mark.parametrize("id_", ["", ".", "..", "\x00", "a\x85", "\ud800", "a" * 1025])
def test_what_no_path_can_say_is_not_expanded(id_: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        template("/users/{id}").expand(id_)


def test_expanding_a_rest_keeps_its_spelling_and_refuses_what_is_none() -> None:
    files = template("/files/{name*}")
    assert files.expand("a/b%2Fc") == "/files/a/b%2Fc"
    for rest in ("", "a b", "é", "\ud800", "a?b", "a/../b", "100%"):
        with pytest.raises(ValueError, match="no path"):
            files.expand(rest)


def test_a_literal_expands_to_itself() -> None:
    assert template("/users/bulk").expand("") == "/users/bulk"
    assert str(template("/users/bulk")) == "/users/bulk"


@pytest.mark.parametrize(
    ("one", "two", "overlap"),
    [
        ("/a", "/a", True),
        ("/a", "/b", False),
        ("/users/bulk", "/users/{id}", True),
        ("/users/%zz".replace("%zz", "x/y"), "/users/{id}", False),
        ("/users/{id}", "/users/{uid}", True),
        ("/users/{id}", "/{x}/me", True),
        ("/users/{id}", "/businesses/{id}", False),
        ("/users/{id}", "/users/{id}/card", False),
        ("/users/{id}/", "/users/{id}", False),
        ("/{x}/", "/a/{id}", False),
        ("/{x}/%FF", "/a/{id}", False),
        ("/a/{r*}", "/a/{id}/b", True),
        ("/a/{r*}", "/a/b/{id}", True),
        ("/a/{r*}", "/{id}", False),
        ("/a/{r*}", "/{id}/", False),
        ("/a/{r*}", "/{id}/b", True),
        ("/a/{r*}", "/a/b/{s*}", True),
        ("/a/{r*}", "/b/{s*}", False),
        ("/a/{r*}", "/a/b", True),
        ("/a/{r*}", "/a/", False),
    ],
)
def test_overlaps_go_both_ways(one: str, two: str, *, overlap: bool) -> None:
    assert template(one).overlaps(template(two)) is overlap
    assert template(two).overlaps(template(one)) is overlap


@given(TEMPLATES, TEMPLATES, st.lists(SEGMENTS, min_size=1, max_size=5))
def test_templates_that_both_match_a_path_overlap(one: str, two: str, segments: list[str]) -> None:
    try:
        left, right = template(one), template(two)
    except ValueError:  # an empty segment in front
        return
    path = ("/" + "/".join(segments)).encode()
    if left.match(path) is not None and right.match(path) is not None:
        assert left.overlaps(right)


def test_a_long_path_that_fails_at_its_end_is_given_up_at_once() -> None:
    started = time.perf_counter()
    assert template("/users/{id}").match(b"/users/" + b"a%61" * 15_000 + b"?") is None
    assert template("/files/{name*}").match(b"/files/" + b"a" * 1000 + b"?") is None
    assert time.perf_counter() - started < 1

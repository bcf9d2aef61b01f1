"""How old an answer is, by its Age and Date and by how long it took (RFC 9111 sections 4.2.3 and 5.1)."""

from pathlib import Path

import pytest

from tests.integration.opaque import answering, at, reused, running

HOUR = "Cache-Control: max-age=3600"


@pytest.mark.parametrize(
    "value", ["abc", "-7200", "7200.0", "7200;foo=bar", "7200;foo=111", "+7200", "0x1c20"]
)
async def test_an_age_that_is_no_number_is_ignored(value: str, tmp_path: Path) -> None:
    """RFC 9111 section 5.1."""
    response = await reused(tmp_path, HOUR, f"Date: {at()}", f"Age: {value}")
    assert response is not None
    assert response.field("age") == "3"


@pytest.mark.parametrize("lines", [["7200, 0"], ["7200,0"], ["7200", "0"]])
async def test_of_several_ages_the_first_makes_stale(lines: list[str], tmp_path: Path) -> None:
    """RFC 9111 section 5.1: the first value of a list counts."""
    assert not await reused(tmp_path, HOUR, f"Date: {at()}", *[f"Age: {value}" for value in lines])


@pytest.mark.parametrize("lines", [["0, 7200"], ["0,7200"], ["0", "7200"], ["0, 0"], ["0", "0"], ["0, abc"]])
async def test_of_several_ages_the_first_keeps_fresh(lines: list[str], tmp_path: Path) -> None:
    """RFC 9111 section 5.1: the first value of a list counts, and one Age alone is passed on."""
    response = await reused(tmp_path, HOUR, f"Date: {at()}", *[f"Age: {value}" for value in lines])
    assert response is not None
    assert [value for name, value in response.fields if name.lower() == b"age"] == [b"3"]


@pytest.mark.parametrize("value", ["2147483647", "2147483648", "2147483649", "9" * 40])
async def test_an_age_beyond_all_bounds_is_very_old(value: str, tmp_path: Path) -> None:
    """RFC 9111 section 1.2.2: what is larger than a number can be counts as the largest."""
    assert not await reused(tmp_path, HOUR, f"Date: {at()}", f"Age: {value}")


@pytest.mark.parametrize("lifetime", [HOUR, f"Expires: {at(3600)}"])
async def test_an_answer_grows_older_here(lifetime: str, tmp_path: Path) -> None:
    """RFC 9111 sections 4 and 5.1: Age is sent, and is that of the answer, not of our copy."""
    response = await reused(tmp_path, lifetime, f"Date: {at()}", "Age: 30", seconds=5)
    assert response is not None
    assert response.field("age") == "35"


async def test_the_origins_times_stay_what_they_were(tmp_path: Path) -> None:
    """RFC 9110 section 6.6.1: Date is when the answer was made."""
    response = await reused(tmp_path, f"Expires: {at(3600)}", f"Date: {at()}", seconds=60)
    assert response is not None
    assert (response.field("date"), response.field("expires")) == (at(), at(3600))


async def test_an_answer_without_a_date_is_given_that_of_its_receipt(tmp_path: Path) -> None:
    """RFC 9110 section 6.6.1."""
    response = await reused(tmp_path, HOUR, seconds=60)
    assert response is not None
    assert response.field("date") == at()


async def test_what_was_made_long_ago_is_old(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.3: the apparent age."""
    assert not await reused(tmp_path, HOUR, f"Date: {at(-7200)}")


async def test_the_larger_of_the_two_ages_counts(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.3."""
    response = await reused(tmp_path, HOUR, f"Date: {at(-600)}", "Age: 60", seconds=5)
    assert response is not None
    assert response.field("age") == "605"


async def test_a_clock_that_is_ahead_makes_nothing_younger(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.3: an apparent age is not negative."""
    assert not await reused(tmp_path, "Cache-Control: max-age=2", f"Date: {at(3600)}", seconds=3)


async def test_the_time_that_an_answer_takes_makes_it_older(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.3: the response delay is added to the Age that was sent."""
    late = answering(HOUR, "Age: 30", takes=5)
    async with running(tmp_path, late) as (proxy, origin):
        await proxy.get("/a")
        proxy.clock.tick(1)
        assert (await proxy.get("/a")).field("age") == "36"
        assert len(origin.seen) == 1


async def test_the_time_that_a_call_before_it_took_does_not(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.3: `request_time` is that of the request whose answer it is, not of the one before it, whose
    304 was about something else."""
    wrong = answering('ETag: "2"', status="304 Not Modified", takes=7)
    answers = (answering("Cache-Control: max-age=2", 'ETag: "1"'), wrong, answering(HOUR, takes=7))
    async with running(tmp_path, *answers) as (proxy, origin):
        await proxy.get("/a")
        proxy.clock.tick(3)
        await proxy.get("/a")
        assert (await proxy.get("/a")).field("age") == "7"
        assert len(origin.seen) == 3


async def test_what_has_its_lifetime_of_the_operator_is_as_old_as_it_came(tmp_path: Path) -> None:
    """RFC 9111 sections 4.2.3, 5.1 and 5.2.1.1: its `ttl` counts from receipt, its Age from when it was made."""
    old = answering("Age: 1000", f"Date: {at(-1500)}")
    async with running(tmp_path, old, ttl="60s", jitter=0.0, stale_while_revalidate="0s") as (proxy, origin):
        await proxy.get("/a")
        for seconds, age in ((3, "1503"), (56, "1559")):
            proxy.clock.tick(seconds)
            response = await proxy.get("/a")
            assert (response.body, response.field("age")) == (b"1", age)
        assert (await proxy.get("/a", "Cache-Control: max-age=1559")).body == b"1"
        assert (await proxy.get("/a", "Cache-Control: max-age=1558")).body == b"2"
        proxy.clock.tick(61)
        assert (await proxy.get("/a")).body == b"3"
        assert len(origin.seen) == 3


async def test_what_was_fresh_when_it_was_made_may_be_stale_when_it_comes(tmp_path: Path) -> None:
    """RFC 9111 section 4.2.3."""
    assert not await reused(tmp_path, "Cache-Control: max-age=5", "Age: 2", seconds=0, takes=4)


@pytest.mark.parametrize("value", ["nonsense", "Thu, 18 Aug 2050 02:01:18 UTC", ""])
async def test_a_date_that_cannot_be_read_is_that_of_receipt(value: str, tmp_path: Path) -> None:
    """RFC 9110 section 6.6.1."""
    response = await reused(tmp_path, HOUR, f"Date: {value}")
    assert response is not None
    assert response.field("age") == "3"

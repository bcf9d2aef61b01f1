"""Who leads among replicas, as far as this one can know."""

from tests.unit.store.shared_fakes import INTERVAL, Shared, SharedWorld


async def test_it_is_asked_for_in_the_name_of_this_replica() -> None:
    database = Shared()
    one, other = SharedWorld(database), SharedWorld(database)
    for world in (one, other):
        assert await world.sharing.read_log()

    assert await one.sharing.lead("role", 1.0)
    assert await one.sharing.lead("role", 1.0)
    other.sharing.next_token = lambda: 99
    assert not await other.sharing.lead("role", 1.0)
    assert await other.sharing.lead("another", 1.0)


async def test_nobody_leads_without_the_database() -> None:
    database = Shared()
    world = SharedWorld(database)
    assert await world.sharing.read_log()
    database.broken = {"lead"}
    assert not await world.sharing.lead("role", 1.0)
    assert world.errors == ["lead"]


async def test_who_does_not_hear_of_what_others_change_does_not_lead() -> None:
    database = Shared()
    world = SharedWorld(database)
    assert await world.sharing.read_log()
    world.now += INTERVAL
    assert not await world.sharing.lead("role", 1.0)
    assert database.leaders == {}, "it has not asked"

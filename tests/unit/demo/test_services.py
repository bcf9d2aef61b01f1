"""The upstream that the demo and the tests run against has to be right itself."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.demo.services import BUSINESSES_BULK, USERS_BULK, Services


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    services = Services()
    await services.start()
    yield services
    await services.stop()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_bulk_answers_known_users_in_order_with_their_count(
    services: Services, client: aiohttp.ClientSession
) -> None:
    async with client.post(
        services.url + USERS_BULK, json={"userIds": ["user-02", "nobody", "user-01"]}
    ) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        document = await answer.json()
    assert [user["id"] for user in document["users"]] == ["user-02", "user-01"]
    assert document["count"] == 2
    assert set(document["users"][0]) == {"id", "name", "email", "avatar", "kahaId"}
    assert services.calls == [(USERS_BULK, ("user-02", "nobody", "user-01"))]
    assert services.fetched == {"user-02": 1, "nobody": 1, "user-01": 1}


async def test_bulk_answers_known_businesses(services: Services, client: aiohttp.ClientSession) -> None:
    async with client.post(services.url + BUSINESSES_BULK, json={"businessIds": ["biz-01"]}) as answer:
        document = await answer.json()
    assert document["count"] == 1
    assert document["businesses"][0]["name"] == "Everest Tea House"


async def test_planted_bytes_are_answered_as_they_are(
    services: Services, client: aiohttp.ClientSession
) -> None:
    planted = b'{ "id" : "odd",\t"name":"\\u00e9", "score":1.50, "big":9007199254740993 }'
    services.users["odd"] = planted
    async with client.post(services.url + USERS_BULK, json={"userIds": ["odd"]}) as answer:
        assert await answer.read() == b'{"users":[' + planted + b'],"count":1}'
    async with client.get(services.url + "/users/odd") as answer:
        assert await answer.read() == planted


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"userIds":"a"}', b'{"userIds":[1]}'])
async def test_a_body_of_another_shape_is_a_bad_request(
    services: Services, client: aiohttp.ClientSession, body: bytes
) -> None:
    async with client.post(services.url + USERS_BULK, data=body) as answer:
        assert answer.status == 400
    assert services.calls == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/users/user-01", 200),
        ("/users/nobody", 404),
        ("/businesses/biz-01", 200),
        ("/businesses/none", 404),
        ("/health", 200),
    ],
)
async def test_single_items_and_health(
    services: Services, client: aiohttp.ClientSession, path: str, status: int
) -> None:
    async with client.get(services.url + path) as answer:
        assert answer.status == status
        json.loads(await answer.read())


async def test_latency_is_waited_for(services: Services, client: aiohttp.ClientSession) -> None:
    services.latency = 0.05
    started = time.perf_counter()
    async with client.get(services.url + "/users/user-01"):
        assert time.perf_counter() - started >= 0.05


async def test_stop_cuts_connections_and_start_comes_back_on_the_same_port(
    services: Services, client: aiohttp.ClientSession
) -> None:
    url = services.url
    async with client.get(url + "/health") as answer:
        await answer.read()
    services.latency = 30
    under_way = asyncio.create_task(client.get(url + "/users/user-01"))
    await services.wait_for_calls(1)
    await services.stop()
    with pytest.raises(aiohttp.ClientError):
        await under_way
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", services.port)):
        pass
    services.latency = 0
    await services.start()
    assert services.url == url
    async with client.get(url + "/health") as answer:
        assert answer.status == 200


async def test_starting_and_stopping_twice_changes_nothing() -> None:
    services = Services()
    await services.start()
    await services.start()
    await services.stop()
    await services.stop()


async def test_there_is_no_url_before_the_first_start() -> None:
    with pytest.raises(RuntimeError):
        _ = Services().url


async def test_a_taken_port_is_an_error(services: Services) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await Services(port=services.port).start()


async def test_counting_starts_anew(services: Services, client: aiohttp.ClientSession) -> None:
    async with client.get(services.url + "/users/user-01"):
        pass
    services.forget()
    assert services.calls == []
    assert services.fetched == {}

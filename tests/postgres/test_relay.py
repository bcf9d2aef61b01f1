"""Each fault of the relay is the one that it says, and over when it is healed."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
import trustme

from tests.postgres.relay import Relay, Sent
from tests.postgres.server import HOST, PATIENCE, Database, Server

Open = Callable[[], "asyncio.Task[asyncpg.Connection]"]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0)


async def came(answer: "asyncio.Future[int] | asyncio.Task[int]") -> int:
    async with asyncio.timeout(PATIENCE):
        return await answer


@pytest.fixture
async def connect(relay: Relay, database: Database) -> AsyncIterator[Open]:
    """Opens a connection through the relay."""
    opened = []

    def one() -> "asyncio.Task[asyncpg.Connection]":
        opened.append(asyncio.create_task(asyncpg.connect(relay.url(database), timeout=PATIENCE)))
        return opened[-1]

    yield one
    for task in opened:
        if task.done() and not task.exception():
            task.result().terminate()
        task.cancel()
    await asyncio.gather(*opened, return_exceptions=True)


async def listening(connection: asyncpg.Connection) -> "asyncio.Queue[str]":
    """What it is notified of from here on."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener("news", lambda *said: heard.put_nowait(said[-1]))
    return heard


def asking(connection: asyncpg.Connection, number: int = 1) -> "asyncio.Task[int]":
    return asyncio.create_task(connection.fetchval(f"SELECT {number} /* {number} */"))


async def reached(relay: Relay, question: str) -> None:
    """Until the relay has what a client has asked."""
    await until(lambda: any(question.encode() in one.sent.last for one in relay.connections))


def running(database: Database, question: str) -> bool:
    """Whether the server has got a question, be it answered."""
    asked = (
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return any(question in line for line in database.sql(asked))


async def test_it_forwards_and_counts(relay: Relay, connect: Open) -> None:
    assert (relay.accepted, len(relay.connections)) == (0, 0)
    first, second = await connect(), await connect()
    large = "x" * 2**22
    assert await first.fetchval("SELECT $1::text", large) == large
    assert await second.fetchval("SELECT 2") == 2
    assert (relay.accepted, len(relay.connections)) == (2, 2)
    await first.close()
    await until(lambda: len(relay.connections) == 1)
    assert relay.accepted == 2


async def test_cut_resets_what_there_is_and_nothing_new(
    relay: Relay, connect: Open, database: Database
) -> None:
    connection = await connect()
    reader, writer = await asyncio.open_connection(HOST, relay.port)
    await until(lambda: len(relay.connections) == 2)
    relay.cut()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError)):
        await connection.fetchval("SELECT 1")
    assert not relay.connections
    assert await came(asking(await connect(), 5)) == 5


async def test_cut_reaches_the_server(relay: Relay, connect: Open, database: Database) -> None:
    await (await connect()).fetchval("SELECT 1 /* idle */")
    assert running(database, "idle")
    relay.cut()
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(running, database, "idle"):
            pass


async def test_refuse_lets_connections_be_and_takes_no_more(relay: Relay, connect: Open) -> None:
    connection, port = await connect(), relay.port
    relay.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect()
    assert await came(asking(connection)) == 1
    assert relay.accepted == 1
    await relay.heal()
    assert relay.port == port
    assert await came(asking(await connect(), 2)) == 2


async def test_swallow_holds_a_question_back(relay: Relay, connect: Open, database: Database) -> None:
    connection = await connect()
    relay.swallow()
    answer = asking(connection, 7)
    await reached(relay, "/* 7 */")
    assert not await asyncio.to_thread(running, database, "/* 7 */")
    assert not answer.done()
    await relay.heal()
    assert await came(answer) == 7
    assert running(database, "/* 7 */")


async def test_swallow_holds_an_answer_back(relay: Relay, connect: Open, database: Database) -> None:
    heard = await listening(await connect())
    direct = await asyncpg.connect(database.url)
    told = await listening(direct)
    relay.swallow()
    database.sql("NOTIFY news, 'one'")
    assert await asyncio.wait_for(told.get(), PATIENCE) == "one"
    await direct.fetchval("SELECT 1")  # the server has long told both
    assert heard.empty()
    await relay.heal()
    assert await asyncio.wait_for(heard.get(), PATIENCE) == "one"
    await direct.close()


async def test_swallow_holds_a_server_s_end_back(relay: Relay, connect: Open, database: Database) -> None:
    connection = await connect()
    relay.swallow()
    database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'handshake'")
    assert not await asyncio.to_thread(running, database, "")
    assert not connection.is_closed()
    assert len(relay.connections) == 1
    await relay.heal()
    await until(connection.is_closed)
    await until(lambda: not relay.connections)


async def test_swallow_holds_a_client_s_end_back(relay: Relay, connect: Open, database: Database) -> None:
    connection = await connect()
    (seen,) = relay.connections
    relay.swallow()
    connection._transport.abort()  # a mere end: the driver's own way says goodbye before
    await until(seen.reader.at_eof)
    assert await asyncio.to_thread(running, database, "")
    await relay.heal()
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(running, database, ""):
            pass


async def test_swallow_accepts_connections_and_says_nothing(
    relay: Relay, connect: Open, database: Database
) -> None:
    relay.swallow()
    there, relay.target = relay.target, 1  # not even that there is no server is told
    task = connect()
    await until(lambda: relay.accepted == 1)
    assert not await asyncio.to_thread(running, database, "")
    assert not task.done()
    relay.target = there
    await relay.heal()
    assert await came(asking(await task)) == 1


async def test_what_was_swallowed_can_be_cut(relay: Relay, connect: Open) -> None:
    connection = await connect()
    relay.swallow()
    answer = asking(connection, 7)
    await reached(relay, "/* 7 */")
    relay.cut()
    with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError)):
        await came(answer)


async def test_listeners_alone_are_swallowed(relay: Relay, connect: Open, database: Database) -> None:
    listener, other = await connect(), await connect()
    heard = await listening(listener)
    relay.swallow_listeners()
    database.sql("NOTIFY news, 'one'")
    answer = asking(listener, 7)
    await reached(relay, "/* 7 */")
    assert await came(asking(other, 8)) == 8
    assert not await asyncio.to_thread(running, database, "/* 7 */")
    assert heard.empty()
    await relay.heal()
    assert await came(answer) == 7
    assert await asyncio.wait_for(heard.get(), PATIENCE) == "one"


async def test_who_listens_later_is_swallowed_then(relay: Relay, connect: Open) -> None:
    relay.swallow_listeners()
    connection = await connect()
    assert await came(asking(connection)) == 1
    task = asyncio.create_task(listening(connection))
    await until(lambda: any(one.sent.listens for one in relay.connections))
    assert await came(asking(await connect(), 2)) == 2
    assert not task.done()
    await relay.heal()
    await asyncio.wait_for(task, PATIENCE)


async def test_another_fault_takes_the_place_of_one(relay: Relay, connect: Open) -> None:
    connection = await connect()
    relay.swallow()
    answer = asking(connection, 7)
    await reached(relay, "/* 7 */")
    relay.swallow_listeners()
    assert await came(answer) == 7


async def test_listeners_alone_are_cut(relay: Relay, connect: Open) -> None:
    listener, other = await connect(), await connect()
    await listening(listener)
    relay.cut_listeners()
    await until(listener.is_closed)
    assert await came(asking(other)) == 1


async def test_a_pool_that_gives_connections_back_does_not_listen(relay: Relay, database: Database) -> None:
    async with asyncpg.create_pool(relay.url(database), min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection:
            await connection.execute("SET work_mem = '1MB'")
        assert await pool.fetchval("SELECT 1") == 1
        (seen,) = relay.connections
        assert b"UNLISTEN" in seen.sent.last
        assert not seen.sent.listens


@pytest.mark.parametrize(
    ("pieces", "listens"),
    [
        ([b'LISTEN "news"'], True),
        ([b"\0\0A", b"listen news"], True),
        ([b"x" * 5000 + b"LIS", b"TEN news"], True),
        ([b"LISTEN", b" news"], True),
        ([b"UNLISTEN *"], False),
        ([b"UN", b"LISTEN *"], False),
        ([b"x" * 5000 + b"UNLIST", b"EN *"], False),
        ([b"LISTEN news", b"x" * 5000], True),
    ],
)
def test_who_has_sent_listen_is_known(pieces: list[bytes], listens: bool) -> None:
    sent = Sent()
    for piece in pieces:
        sent.add(piece)
    assert sent.listens is listens
    assert len(sent.last) <= 4096


async def test_a_server_that_is_gone_is_a_reset(postgres: Server, database: Database) -> None:
    async with Relay(postgres.port) as one:
        one.target = 1  # nobody's: a privileged port, which no test listens on
        reader, writer = await asyncio.open_connection(HOST, one.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_nothing_is_left_at_the_end(postgres: Server, database: Database) -> None:
    before = asyncio.all_tasks()
    async with Relay(postgres.port) as one:
        connection = await asyncpg.connect(one.url(database))
        one.swallow()
        assert len(asyncio.all_tasks() - before) == 3
    assert asyncio.all_tasks() == before
    connection.terminate()


async def test_it_can_encrypt(postgres: Server, database: Database) -> None:
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Relay(postgres.port, tls=context) as one:
        connection = await asyncpg.connect(one.url(database), ssl=trusting)
        large = "x" * 2**20
        assert await connection.fetchval("SELECT $1::text", large) == large
        await connection.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncpg.connect(one.url(database), ssl=ssl.create_default_context())
        with pytest.raises((ConnectionError, asyncpg.PostgresConnectionError)):
            await asyncpg.connect(one.url(database), ssl=False)

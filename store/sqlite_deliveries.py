"""Messages of owners: what each does to a row, and that it has been delivered, in one transaction of the writer."""

import sqlite3
from collections.abc import Mapping

from store.base import DeriveId
from store.effects import Applied, Decide, Delivery, Forget, Keep, Replace
from store.entry import Key
from store.migrations import DELIVERIES
from store.sqlite_table import Table


def apply(
    tables: Mapping[str, Table],
    key: Key,
    decide: Decide,
    delivery: Delivery,
    derive_id: DeriveId,
    connection: sqlite3.Connection,
) -> Applied:
    """Do to the row of the key what `decide` says, unless the message was delivered before.

    Of a key that has no row here the message alone is remembered. Raises the driver's errors and what `decide` raises:
    then nothing has happened, and the message may come again.
    """
    connection.execute(f"DELETE FROM {DELIVERIES} WHERE until < ?", (delivery.at,))  # noqa: S608 - a constant
    is_new = connection.execute(
        f"INSERT OR IGNORE INTO {DELIVERIES} (id, until) VALUES (?, ?)",  # noqa: S608 - likewise
        (delivery.id, delivery.at + delivery.remembered_for),
    ).rowcount
    if not is_new:
        return Applied(None)
    table = tables.get(key.resource)
    if table is None or key.variant:
        return Applied(Keep())
    before = next(iter(table.get(connection, [key.id])), None)
    effect = decide(before)
    entry = before
    match effect:
        case Forget(source_version):
            table.outdate(connection, key.id, source_version)
            entry = next(iter(table.get(connection, [key.id])), None)
        case Replace(write):
            entry = table.put(connection, write, derive_id)
    return Applied(effect, before, entry)

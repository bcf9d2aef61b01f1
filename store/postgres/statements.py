"""The statements, which stand in files (`sql/`), with the names of a table in them."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from store.base import TableSpec
from store.row_values import AT_LEAST_KNOWN

SCHEMA: Final = "handshake_proxy"
"""Where all of it stands: the database is the application's, and has tables of its own."""

CHANNEL: Final = "handshake_proxy"
"""Of the notifications."""

LOCAL_TYPES: Final = {"TEXT": "text", "INTEGER": "bigint", "REAL": "double precision"}
"""A local attribute's type as `TableSpec` has it, and as the server does."""

REFRESHED: Final = (
    ("last_synced_at", "timestamptz"),
    ("received_at", "double precision"),
    ("lifetime", "double precision"),
    ("initial_age", "double precision"),
    ("source_version", "text"),
    ("headers", "text"),
    ("item", "bytea"),
    ("stale_while_revalidate", "double precision"),
    ("stale_if_error", "double precision"),
    ("must_revalidate", "boolean"),
    ("shareable", "boolean"),
)
"""What each write sets besides the configured columns, and their types; local attributes are not among it."""

_SQL = files("store.postgres") / "sql"


def quoted(name: str) -> str:
    """An SQL identifier, whatever is in the name."""
    return '"' + name.replace('"', '""') + '"'


@cache
def text(name: str) -> str:
    """A statement as it stands in its file."""
    return (_SQL / f"{name}.sql").read_text("utf-8").strip()


@cache
def log_text(name: str) -> str:
    """A statement that also says which server, and which of its lives, has answered."""
    return text(name).format(incarnation=text("incarnation"))


def migrations() -> list[str]:
    """The names of the steps, in their order."""
    names = (step.name for step in (_SQL / "migrations").iterdir())
    return sorted(name.removesuffix(".sql") for name in names if name.endswith(".sql"))


class TableStatements:
    """Those of one resource's table."""

    def __init__(self, spec: TableSpec) -> None:
        self.resource = spec.resource
        self.columns = spec.columns
        self.locals = tuple(name for name, _ in spec.local_columns)
        self._names = _names_of(spec)
        self.table = self._names["table"]
        self.external = self._names["external"]
        self.get = self._filled("get")
        self.find = self._filled("find")
        self.put = self._filled("put")
        self.reserve = self._filled("reserve")
        self.taken = self._filled("taken")
        self.invalidate = self._filled("invalidate")
        self.outdate = self._filled("outdate")
        self.standing = self._filled("standing")
        self.forget = self._filled("forget")
        self.erase = self._filled("erase")
        self.leased = self._filled("leased")
        self.page = self._filled("page")
        self.unsynced = self._filled("unsynced")
        self.count = self._filled("count")
        self.held = self._filled("held")
        self.used = self._filled("used")
        self.oldest = self._filled("oldest")
        self.evict = self._filled("evict")
        self.empty = self._filled("empty")
        self.adopt_new = self._filled("adopt_new")
        self.adopt_known = self._filled("adopt_known")
        self.adopt_look = self._filled("adopt_look")
        self.rename = self._filled("rename")
        self.renumber = self._filled("renumber")
        self.note = self._filled("note")
        self.recent = self._filled("recent")
        self.make = self._filled("table")

    def change(self, named: Sequence[str], *, is_synced: bool) -> str:
        """Sets local attributes, `$2` and on in that order, and, behind them, the time of last sync of the row `$1`."""
        changes = [f"{quoted(name)} = ${place}" for place, name in enumerate(named, start=2)]
        differences = [
            f"{quoted(name)} IS DISTINCT FROM ${place}" for place, name in enumerate(named, start=2)
        ]
        if differences:
            changes.append(f"version = version + ({' OR '.join(differences)})::integer")
        if is_synced:
            changes.append(f"last_synced_at = ${2 + len(named)}")
        external, table, read = (self._names[name] for name in ("external", "table", "read"))
        return f"UPDATE {table} SET {', '.join(changes)} WHERE {external} = $1 RETURNING {read}"  # noqa: S608

    def _filled(self, name: str) -> str:
        return text(name).format_map(self._names)


def _names_of(spec: TableSpec) -> dict[str, str]:
    table, external = f"{SCHEMA}.{quoted(spec.table)}", quoted(spec.id_column)
    own = [(quoted(name), "text", f"c{place}") for place, name in enumerate(spec.columns)]
    own += [(name, kind, name) for name, kind in REFRESHED]
    types = ["bigint", "uuid", "text", *(kind for _, kind, _ in own)]
    locals_ = [quoted(name) for name, _ in spec.local_columns]
    # Of an import: whether it names each of them, and what it says.
    more = ["bigint", *(kind for _, sql in spec.local_columns for kind in ("boolean", LOCAL_TYPES[sql]))]
    numbered = list(enumerate(locals_))
    read = [external, "id::text", "extract(epoch FROM last_synced_at)::double precision", "received_at"]
    read += ["lifetime", "initial_age", "version", "source_version", "headers", "item"]
    read += ["stale_while_revalidate", "stale_if_error", "must_revalidate", "shareable", *locals_]
    return {
        "table": table,
        "external": external,
        "unsynced": quoted(f"{spec.table}_unsynced"),
        "fresh_until": quoted(f"{spec.table}_fresh_until"),
        "columns": ", ".join(name for name, _, _ in own),
        "values": ", ".join(value for _, _, value in own),
        "names": ", ".join(("lease", "id", "external_id", *(value for _, _, value in own))),
        # Behind the parameters: in whose name the other replicas are told; NULL if they are not.
        "origin": f"${len(types) + 2}::uuid",
        # Behind the resource's name.
        "parameters": ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, start=2)),
        "brought": ", ".join(f"${place}::{kind}[]" for place, kind in enumerate([*types, *more], start=1)),
        "changes": ", ".join(f"{name} = excluded.{name}" for name, _, _ in own if name != "source_version"),
        "known": AT_LEAST_KNOWN.replace("source_version", "held.source_version"),
        "read": ", ".join(read),
        "local": "".join(f", held.{name}" for name in locals_),
        "emptied": "".join(f", {quoted(name)} = NULL" for name in spec.columns),
        "is_local": " OR ".join(f"{name} IS NOT NULL" for name in locals_) or "false",
        "locals": "".join(f", {name}" for name in locals_),
        "local_names": "".join(f", h{place}, l{place}" for place, _ in numbered),
        "local_values": "".join(f", l{place}" for place, _ in numbered),
        "takes": ", ".join(
            f"{name} = CASE WHEN is_taken THEN taken.{value} ELSE held.{name} END" for name, _, value in own
        ),
        "local_takes": "".join(
            f", {name} = CASE WHEN taken.h{place} THEN taken.l{place} ELSE held.{name} END"
            for place, name in numbered
        ),
    }

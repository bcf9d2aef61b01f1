"""Sections of the model: a resource, that is, a kind of entity, and how it is asked for and kept."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config.fields import (
    ColumnName,
    Count,
    FieldName,
    LiteralPath,
    MemberPointer,
    Section,
    Share,
    TemplatePath,
    UpstreamName,
    key,
    reject_bool,
)
from config.json_pointer import Pointer
from config.units import Duration, Kind, parse_duration

_NO_BODY = frozenset({204, 205})


def _with_body(status: int) -> int:
    if status in _NO_BODY:
        raise ValueError("must be a status whose answer has a body, such as 200")
    return status


SuccessStatus = Annotated[
    int, BeforeValidator(reject_bool), Field(ge=200, le=299), AfterValidator(_with_body), Kind("status")
]


class FreshnessConfig(Section):
    """How long what is held may be used."""

    ttl: Duration = key(
        parse_duration("24h"), "Freshness lifetime where the upstream states none (or `origin` is `ignore`)."
    )
    stale_while_revalidate: Duration = key(
        parse_duration("30d"),
        "After the end of freshness, for so long: answer stale at once and refresh behind. Of an answer whose lifetime "
        "the upstream states, its own `stale-while-revalidate` goes.",
    )
    stale_if_error: Duration = key(
        parse_duration("90d"),
        "After the end of freshness, for so long: answer stale when the upstream fails and has not forbidden it.",
    )
    revalidate_timeout: Duration = key(
        parse_duration("1s"),
        "How long a request that has a usable stale copy waits for the upstream, before it is answered with that.",
    )
    negative_ttl: Duration = key(
        parse_duration("10s"),
        "How long an id that the upstream does not know is remembered as absent, in memory.",
    )
    jitter: Share = key(
        0.1, "The part of a lifetime from `ttl` that chance may take off, so that not all expire together."
    )
    origin: Literal["honour", "ignore"] = key(
        "honour",
        "`honour`: explicit cache directives of the upstream win, `ttl` is what a silent one gets. `ignore`: `ttl` "
        "rules, whatever the upstream says.",
    )


class BulkConfig(Section):
    """The call that asks for many entities by id."""

    method: Literal["POST", "PUT", "PATCH"] = key(
        "POST", "Method of the call. It counts as safe and idempotent."
    )
    path: LiteralPath = key(
        ..., "Path of the call, without placeholder. A query string makes a call bypass the cache."
    )
    ids: MemberPointer = key(..., "The member of the request body that lists the ids, such as `/userIds`.")
    items: MemberPointer = key(..., "The member of the answer that lists the items, such as `/users`.")
    count: MemberPointer | None = key(
        None, "The member of the answer that counts the items; null: there is none."
    )
    max_ids: Count = key(100, "Ids in one upstream call; more are asked for in parallel chunks.")
    status: SuccessStatus = key(200, "Status of an answer that the proxy assembles: 200 to 299, with a body.")
    duplicates: Literal["forward", "once", "repeat"] = key(
        "forward",
        "What a request that names an id twice gets. `forward`: it is passed on, uncached. `once`: the item once. "
        "`repeat`: the item as often as it was named. Choose what the upstream does.",
    )


class SingleConfig(Section):
    """The call that asks for one entity by its path."""

    path: TemplatePath = key(
        ...,
        "Path of an entity. `{name}` is one segment, percent-decoded once to give the id; `{name*}`, at the end, is "
        "the rest of the path as it was spelled.",
    )


class ResourceConfig(Section):
    """A kind of entity. It needs `bulk`, `single` or both; both declare that a single's body is a bulk's item."""

    upstream: UpstreamName = key("main", "The upstream that owns it.")
    storage: Literal["database", "memory"] = key(
        "database",
        "`database`: entities survive restarts and have internal ids. `memory`: a cache. An opaque resource (`id` "
        "null) is always in memory.",
    )
    id: Pointer | None = key(
        None,
        "Where an item has its id, such as `/id`. null: the resource is opaque. Its bodies are not looked into, and "
        "its responses are kept by target and query as RFC 9111 says (docs/http-cache.md); it needs `single`.",
    )
    columns: dict[ColumnName, Pointer] = key(
        {},
        "Columns that are taken out of the item, each a JSON pointer into it, such as `name: /name`. A column that "
        "is added is filled as entities are fetched again.",
    )
    source_version: Pointer | None = key(
        None,
        "Where an item has the upstream's own version, such as `/updatedAt`: an integer, an RFC 3339 time, or any "
        "other text. By it an event (`webhooks`) that comes late or twice is told from news. Of integers and times "
        "the larger one is newer; of other texts it is only known whether they are equal.",
    )
    sharing: Literal["anonymous", "service", "per_credential"] = key(
        "anonymous",
        "`anonymous`: requests that carry a credential bypass the cache, unless what is held says that it may be "
        "shared (`public`, `s-maxage` or `must-revalidate`, RFC 9111 section 3.5). `service`: the answer is the same "
        "for every caller of this listener. "
        "`per_credential`: each credential has copies of its own, in memory, of what the upstream has answered to that "
        "very credential, for `ttl` after it did. They are asked for with the caller's credential, and never with "
        "`credential_file`.",
    )
    credential_headers: tuple[FieldName, ...] = key(
        ("authorization", "cookie", "x-api-key"), "Request fields that are credentials."
    )
    key_headers: tuple[FieldName, ...] = key(
        (),
        "Request fields whose value is part of the key, such as a tenant. They go with a fill. What a request with "
        "such a field brings is held in memory alone. Fields that frame, route or negotiate (Host, Content-*, Accept, "
        "Range, If-* and their like) are refused, here and in `credential_headers`.",
    )
    freshness: FreshnessConfig = key(FreshnessConfig(), "How long what is held may be used.")
    bulk: BulkConfig | None = key(None, "The call for many entities; null: there is none.")
    single: SingleConfig | None = key(
        None,
        "The call for one entity: GET and HEAD are answered, other methods pass and invalidate; null: there is none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _opaque_is_memory(cls, data: Any) -> Any:
        # Without ids there are no rows, so the default storage of an opaque resource can only be memory.
        if isinstance(data, dict) and data.get("id") is None and "storage" not in data:
            return {**data, "storage": "memory"}
        return data

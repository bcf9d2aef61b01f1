"""The rows about what is held: memory, the database, and what replicas tell each other by it."""

from collections.abc import Sequence
from typing import Final

from k8s.dashboards.panels import BYTES, COUNT, INSTANCE, REQUESTS, SECONDS, Graph, Query
from k8s.dashboards.promql import metric, quantile, rate, total

STORE: Final[Sequence[Graph]] = (
    Graph(
        "Memory against its bound",
        "Full is normal: see evictions for whether it is too small. The program itself comes on top.",
        BYTES,
        (
            Query(metric("memory_bytes"), INSTANCE),
            Query(f"max({metric('memory_max_bytes')})", "memory.max_bytes"),
        ),
    ),
    Graph(
        "Database against its bound",
        "At nine tenths what was synced longest ago makes room, down to eight. If it moves between the two, raise "
        "store.max_bytes, and the volume with it.",
        BYTES,
        (
            Query(metric("store_bytes"), INSTANCE),
            Query(f"max({metric('store_max_bytes')})", "store.max_bytes"),
        ),
    ),
    Graph(
        "Store latency, p99",
        "Time of database calls. A transparent answer waits for get alone, a new id of the handshake API for its "
        "commit too. Slow: the volume, or somebody who reads the database for long.",
        SECONDS,
        (
            Query(
                quantile(0.99, "operation", "store_operation_seconds"),
                "{{operation}}",
            ),
        ),
    ),
    Graph(
        "Store errors",
        "Database calls that failed; queue_full: writes that were not kept. Look for store_failed in the log: disk "
        "full, a lock, read-only.",
        REQUESTS,
        (Query(total("operation", rate("store_errors_total")), "{{operation}}"),),
    ),
    Graph(
        "Degraded instances",
        "Instances that work without their database, or whose database failed when it was last asked. Do not restart "
        "them while the upstream is down: memory is all they have.",
        COUNT,
        (Query(metric("store_degraded"), INSTANCE),),
    ),
    Graph(
        "Databases given up and set aside",
        "Since each process started. Given up: opened again at once. Set aside: begun anew with what memory held; the "
        "unusable one stays beside it for seven days. The log says why (store_lost, store_set_aside): a volume that "
        "fails, or somebody who moves files.",
        COUNT,
        (
            Query(total("reason", metric("store_lost_total")), "given up: {{reason}}"),
            Query(total("reason", metric("store_set_aside_total")), "set aside: {{reason}}"),
        ),
    ),
    Graph(
        "Invalidation lag",
        "How long the oldest invalidation has waited to be durable. It is in force; a restart would undo it. Growing: "
        "the database does not take writes, see store errors.",
        SECONDS,
        (Query(metric("invalidation_lag_seconds"), INSTANCE),),
    ),
)

SHARED_STORE: Final[Sequence[Graph]] = (
    Graph(
        "Change log lag",
        "How long ago an instance last knew that it had read to the end of what the others have changed; nothing with "
        "SQLite. Up to store.poll_interval is as it should be. Well above it: the instance does not reach PostgreSQL, "
        "and its memory counts as stale. See store errors.",
        SECONDS,
        (Query(metric("change_log_lag_seconds"), INSTANCE),),
    ),
    Graph(
        "Listening to changes",
        "1 while notifications are known to arrive; nothing with SQLite. 0 for long: the instance hears of changes at "
        "its next poll alone, later but surely. See whether store.listen_url goes past the pooler.",
        COUNT,
        (Query(metric("change_log_listening"), INSTANCE),),
    ),
)

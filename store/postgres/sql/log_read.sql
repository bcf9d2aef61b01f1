-- What is visible now and was not when `$1` was taken: a transaction that began before and has been committed since is in
-- the latter's list of those under way.
WITH before AS MATERIALIZED (
    SELECT $1::text::pg_snapshot AS snapshot
), unseen AS (
    SELECT changes.* FROM handshake_proxy.changes, before WHERE xid >= pg_snapshot_xmax(snapshot)
    UNION ALL
    SELECT changes.* FROM handshake_proxy.changes
    WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(snapshot) FROM before))
), page AS (
    SELECT * FROM unseen ORDER BY seq LIMIT $2
)
SELECT pg_current_snapshot()::text, {incarnation},
    NOT pg_visible_in_snapshot(log.pruned, before.snapshot),
    page.resource, page.external_id, page.kind, page.origin::text
FROM handshake_proxy.log CROSS JOIN before LEFT JOIN page ON true

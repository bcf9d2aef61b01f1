-- Each row that was fetched under a lease needs that lease still. It is locked first, in the order of the ids, so that an
-- invalidation comes either before, and has removed it, or after, and finds the row.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest({parameters}) AS given ({names})
), fence AS MATERIALIZED (
    SELECT leases.external_id FROM handshake_proxy.leases JOIN given USING (external_id)
    WHERE leases.resource = $1 AND given.lease = ANY (leases.tokens)
    ORDER BY leases.external_id FOR UPDATE OF leases
), used AS (
    DELETE FROM handshake_proxy.leases USING fence
    WHERE leases.resource = $1 AND leases.external_id = fence.external_id
), before AS MATERIALIZED (
    -- To be compared with what is stored, not locked: what others store meanwhile makes the difference larger.
    SELECT held.{external} AS external_id, held.version + (held.invalidated = 1)::integer AS version
    FROM given JOIN {table} AS held ON held.{external} = given.external_id
), stored AS (
    INSERT INTO {table} AS held (id, {external}, {columns})
    SELECT id, external_id, {values} FROM given
    WHERE lease IS NULL OR external_id IN (SELECT external_id FROM fence)
    ORDER BY external_id COLLATE "C"
    ON CONFLICT ({external}) DO UPDATE
    SET version = held.version + (held.item IS DISTINCT FROM excluded.item)::integer, invalidated = 0, {changes},
    source_version = coalesce(excluded.source_version, {known})
    RETURNING held.{external}, held.id::text, held.version AS now{local}
), logged AS (
    -- Others have in memory what has stood here; of what was invalidated they have nothing.
    INSERT INTO handshake_proxy.changes (resource, external_id, kind, origin)
    SELECT $1, stored.{external}, 'changed', {origin}
    FROM stored LEFT JOIN before ON before.external_id = stored.{external}
    WHERE stored.now > coalesce(before.version, 1) AND {origin} IS NOT NULL
    RETURNING seq
)
SELECT stored.*, (SELECT pg_notify('handshake_proxy', '') FROM logged LIMIT 1) FROM stored

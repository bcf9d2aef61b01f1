WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::double precision[]) AS given (external_id, used_at)
), locked AS MATERIALIZED (
    SELECT held.id, given.used_at FROM {table} AS held JOIN given ON held.{external} = given.external_id
    WHERE held.used_at IS NULL OR held.used_at < given.used_at
    ORDER BY held.{external} FOR UPDATE OF held
)
UPDATE {table} AS held SET used_at = greatest(held.used_at, locked.used_at) FROM locked WHERE held.id = locked.id

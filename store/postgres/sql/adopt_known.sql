-- The representation is taken unless what is stored was synced later; a local attribute where it is named.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest({brought}) AS given ({names}, version{local_names})
), taken AS MATERIALIZED (
    SELECT held.id AS row_id, given.*,
        given.item IS NOT NULL
        AND (held.invalidated <> 0 OR given.last_synced_at >= held.last_synced_at) AS is_taken
    FROM {table} AS held JOIN given ON held.{external} = given.external_id
    ORDER BY held.{external} FOR UPDATE OF held
)
UPDATE {table} AS held
SET version = greatest(held.version, taken.version),
    invalidated = CASE WHEN is_taken THEN 0 ELSE held.invalidated END, {takes}{local_takes}
FROM taken WHERE held.id = taken.row_id
RETURNING held.{external}

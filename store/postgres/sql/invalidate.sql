WITH locked AS MATERIALIZED (
    SELECT id FROM {table} WHERE {external} = ANY ($1::text[]) ORDER BY {external} FOR UPDATE
)
UPDATE {table} AS held SET invalidated = 1, item = NULL, headers = NULL{emptied} FROM locked
WHERE held.id = locked.id AND held.invalidated = 0

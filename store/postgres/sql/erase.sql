WITH locked AS MATERIALIZED (
    SELECT id FROM {table} WHERE {external} = ANY ($1::text[]) ORDER BY {external} FOR UPDATE
)
DELETE FROM {table} AS held USING locked WHERE held.id = locked.id

INSERT INTO {table} (id, {external}, version, invalidated, {columns}{locals})
SELECT id, external_id, version, (item IS NULL)::integer, {values}{local_values}
FROM unnest({brought}) AS given ({names}, version{local_names})
ORDER BY external_id COLLATE "C"
ON CONFLICT DO NOTHING
RETURNING {external}

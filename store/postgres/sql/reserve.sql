INSERT INTO {table} (id, {external}, last_synced_at, received_at, lifetime, initial_age, invalidated)
SELECT id, external_id, $3, $4, 0, 0, 1 FROM unnest($1::uuid[], $2::text[]) AS given (id, external_id)
ORDER BY external_id COLLATE "C"
ON CONFLICT DO NOTHING

SELECT {read} FROM {table} WHERE invalidated = 0 AND last_synced_at < $1
AND (last_synced_at, id) > ($2, $3::uuid)
ORDER BY last_synced_at, id LIMIT $4

SELECT id::text, {external}, {is_local} FROM {table}
WHERE invalidated = $1 AND last_synced_at < $2 ORDER BY last_synced_at LIMIT $3 FOR UPDATE SKIP LOCKED

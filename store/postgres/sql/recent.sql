SELECT {external}, used_at FROM {table} WHERE used_at IS NOT NULL AND invalidated = 0
ORDER BY used_at DESC LIMIT $1

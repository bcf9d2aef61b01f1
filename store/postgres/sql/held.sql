SELECT count(*) FROM {table} WHERE invalidated = 0

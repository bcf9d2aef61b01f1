SELECT {read} FROM {table} WHERE id > $1::uuid OR $1 IS NULL ORDER BY id LIMIT $2

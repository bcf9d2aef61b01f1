SELECT {read} FROM {table} WHERE {external} = $1 FOR UPDATE

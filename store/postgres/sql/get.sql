SELECT {read} FROM {table} WHERE {external} = ANY ($1::text[])

SELECT {external} FROM {table} WHERE id = $1::uuid

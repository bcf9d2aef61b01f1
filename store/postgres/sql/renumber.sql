UPDATE {table} SET id = $2::uuid WHERE id = $1::uuid

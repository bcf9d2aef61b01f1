SELECT count(*), count(*) FILTER (WHERE received_at + lifetime - initial_age < $1),
    pg_total_relation_size('{table}'::regclass)
FROM {table} WHERE invalidated = 0

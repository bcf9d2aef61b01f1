-- Bytes of the rows themselves, by the average of a sample: what the files have besides comes and goes with vacuuming.
SELECT (SELECT count(*) FROM {table}) * coalesce((
    SELECT avg(pg_column_size(sampled.*)) FROM {table} AS sampled TABLESAMPLE SYSTEM ($1)
), 0)::double precision

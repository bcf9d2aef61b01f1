-- Bytes of the rows themselves, by the average of a sample: what the files have besides comes and goes with vacuuming. Of
-- many rows their number is the planner's: each replica asks.
SELECT (
    CASE WHEN $1 < 100 THEN (SELECT reltuples FROM pg_class WHERE oid = '{table}'::regclass AND reltuples > 0)
    ELSE (SELECT count(*) FROM {table}) END
) * (SELECT avg(pg_column_size(sampled.*)) FROM {table} AS sampled TABLESAMPLE SYSTEM ($1))::double precision

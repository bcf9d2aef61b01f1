CREATE TABLE IF NOT EXISTS handshake_proxy.migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

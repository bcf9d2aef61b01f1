-- Messages of owners that were delivered, to whichever replica, and until when each is remembered.
CREATE TABLE handshake_proxy.deliveries (
    id text PRIMARY KEY COLLATE "C",
    until timestamptz NOT NULL
);
CREATE INDEX deliveries_until ON handshake_proxy.deliveries (until);

-- The archives of the audit store's entries. `tombstone` is the evidence; the primary key decides which of two archivers has
-- made the next one. The other columns let queries find a tombstone; nobody has signed them.
-- Where `trimmed_at` is null the entries may still lie in Redis.
CREATE TABLE audit_archives (
    number bigint PRIMARY KEY,
    first_sequence bigint NOT NULL UNIQUE,
    last_sequence bigint NOT NULL,
    file text NOT NULL,
    bytes bigint NOT NULL,
    tombstone text NOT NULL,
    trimmed_at timestamptz
);

-- What operators have asked for: that what was sealed before an instant is archived.
CREATE TABLE audit_archive_orders (
    id uuid PRIMARY KEY,
    before timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    archives bigint,
    entries bigint,
    refused text
);

CREATE INDEX audit_archive_orders_open ON audit_archive_orders (created_at) WHERE finished_at IS NULL;

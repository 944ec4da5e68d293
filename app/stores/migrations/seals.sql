-- The seals of the audit store's entries. The primary key decides which of two sealers has made the next one.
-- `leaves` are the leaf hashes of the entries, 32 bytes each: they tell which entry it is that does not fit a root.
-- No verdict needs them.
CREATE TABLE audit_seals (
    number bigint PRIMARY KEY,
    first_sequence bigint NOT NULL UNIQUE,
    last_sequence bigint NOT NULL,
    seal text NOT NULL,
    leaves bytea
);

-- Hashes do not compress.
ALTER TABLE audit_seals ALTER COLUMN leaves SET STORAGE EXTERNAL;

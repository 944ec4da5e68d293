-- The keys with which personal values in audit entries are encrypted. A forgotten person's row keeps its id, without a key.
CREATE TABLE person_keys (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    person text NOT NULL,
    key bytea CHECK (length(key) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    forgotten_at timestamptz,
    CHECK ((key IS NULL) = (forgotten_at IS NOT NULL))
);
-- One live key per person.
CREATE UNIQUE INDEX person_keys_live ON person_keys (person) WHERE key IS NOT NULL;

-- Whose values a diff holds, beside its own record's; and since when they are gone.
ALTER TABLE diffs ADD COLUMN persons text[] NOT NULL DEFAULT '{}', ADD COLUMN erased_at timestamptz;
CREATE INDEX diffs_persons ON diffs USING gin (persons) WHERE persons <> '{}';

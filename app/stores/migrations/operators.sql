-- What operators steer: runs that pause and are throttled, holds, undos; and invariants beside the mappings.

ALTER TABLE jobs DROP CONSTRAINT jobs_mode_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_mode_check CHECK (mode IN ('full', 'incremental', 'invariants'));

ALTER TABLE runs DROP CONSTRAINT runs_mode_check;
ALTER TABLE runs ADD CONSTRAINT runs_mode_check CHECK (mode IN ('full', 'incremental', 'invariants'));
ALTER TABLE runs
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN paused_seconds double precision NOT NULL DEFAULT 0,
    ADD COLUMN records_per_second integer CHECK (records_per_second > 0),
    ADD COLUMN warnings text[] NOT NULL DEFAULT '{}',
    ADD COLUMN compare_seconds double precision,
    ADD COLUMN nominated bigint NOT NULL DEFAULT 0;
-- The last full run of an entity that has counted its records.
CREATE INDEX runs_compared ON runs (entity, compared_at DESC) WHERE mode = 'full' AND compared_at IS NOT NULL;
CREATE INDEX partitions_undone ON partitions (run_id, number) WHERE status <> 'done';

-- What an operator approved comes on top of the limits as long as that run is under way, and an hour longer.
ALTER TABLE breakers ADD COLUMN approved_run_id uuid;

-- A key that cannot be read is kept as it is shown, which may be how another record's key is spelled.
ALTER TABLE findings DROP CONSTRAINT findings_pkey;
CREATE UNIQUE INDEX findings_record ON findings (run_id, key, (kind = 'unreadable_key'));

-- A record may break several invariants beside what the two sides disagree about.
ALTER TABLE diffs ADD COLUMN invariant text NOT NULL DEFAULT '';
DROP INDEX diffs_open;
CREATE UNIQUE INDEX diffs_open ON diffs (entity, key, invariant, (kind = 'unreadable_key'))
    WHERE status IN ('open', 'in_review', 'approved', 'unsettled');

-- What ended long ago is deleted every hour.
CREATE INDEX diffs_closed ON diffs (closed_at) WHERE closed_at IS NOT NULL;

-- Records that are to be left alone until somebody releases them.
CREATE TABLE holds (
    entity text NOT NULL,
    key text NOT NULL,
    reason text NOT NULL,
    placed_by text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    undo_id uuid,
    PRIMARY KEY (entity, key)
);
CREATE INDEX holds_placed ON holds (placed_at, entity, key);

CREATE TABLE undos (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    run_id uuid,
    reason text NOT NULL,
    requested_by text NOT NULL,
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'collecting', 'working', 'done')),
    created_at timestamptz NOT NULL DEFAULT now(),
    leased_by uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    finished_at timestamptz
);

-- One row per change to undo; `sequence` is its place in the audit store, the latest is undone first.
CREATE TABLE undo_items (
    undo_id uuid NOT NULL REFERENCES undos (id) ON DELETE CASCADE,
    sequence bigint NOT NULL,
    change_id uuid NOT NULL,
    entity text NOT NULL,
    key text NOT NULL,
    side text NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'undone', 'refused')),
    reason text,
    undone_by uuid,
    PRIMARY KEY (undo_id, sequence)
);
-- No change is taken back twice.
CREATE UNIQUE INDEX undo_items_once ON undo_items (change_id) WHERE status IN ('pending', 'undone');

ALTER TABLE breakers ADD COLUMN estimated_records bigint, ADD COLUMN estimated_at timestamptz;

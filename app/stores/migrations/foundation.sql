-- Jobs, runs, findings, suspects, diffs, breakers, schedules: what reconciliation and the scheduler remember.

CREATE TABLE jobs (
    name text PRIMARY KEY,
    entity text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('full', 'incremental')),
    repairs boolean NOT NULL DEFAULT false,
    paused boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (entity, mode)
);

CREATE TABLE runs (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    entity text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('full', 'incremental')),
    dry_run boolean NOT NULL DEFAULT false,
    status text NOT NULL CHECK (status IN
        ('queued', 'comparing', 'held', 'repairing', 'done', 'cancelled', 'failed', 'skipped')),
    cause text NOT NULL,
    requested_by text NOT NULL,
    mapping_hash text NOT NULL,
    reason text,
    document_records bigint NOT NULL DEFAULT 0,
    relational_records bigint NOT NULL DEFAULT 0,
    expected_records bigint NOT NULL DEFAULT 0,
    findings bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    compared_at timestamptz,
    finished_at timestamptz
);
-- At most one full and one incremental run are active per entity.
CREATE UNIQUE INDEX runs_active ON runs (entity, mode)
    WHERE status IN ('queued', 'comparing', 'held', 'repairing');
CREATE INDEX runs_created ON runs (created_at DESC);

CREATE TABLE partitions (
    run_id uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number integer NOT NULL,
    low text,
    high text,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'done')),
    leased_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    document_records bigint NOT NULL DEFAULT 0,
    relational_records bigint NOT NULL DEFAULT 0,
    findings bigint NOT NULL DEFAULT 0,
    finished_at timestamptz,
    PRIMARY KEY (run_id, number)
);

CREATE TABLE findings (
    run_id uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key text NOT NULL,
    partition integer NOT NULL,
    kind text NOT NULL,
    fields text[] NOT NULL DEFAULT '{}',
    proposal jsonb,
    PRIMARY KEY (run_id, key)
);

-- One row per record to look at. A lease, not a row lock, claims it: events never wait behind a repair.
CREATE TABLE suspects (
    entity text NOT NULL,
    key text NOT NULL,
    cause text NOT NULL,
    run_id uuid,
    mode text NOT NULL,
    nominations bigint NOT NULL DEFAULT 1,
    attempts integer NOT NULL DEFAULT 0,
    waiting_for text,
    due_at timestamptz NOT NULL DEFAULT now(),
    leased_by uuid,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    first_nominated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (entity, key)
);
CREATE INDEX suspects_due ON suspects (entity, due_at);
CREATE INDEX suspects_waiting ON suspects (waiting_for) WHERE waiting_for IS NOT NULL;
CREATE INDEX suspects_run ON suspects (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE diffs (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    entity text NOT NULL,
    key text NOT NULL,
    run_id uuid,
    cause text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL CHECK (status IN
        ('open', 'in_review', 'approved', 'repaired', 'rejected', 'vanished', 'unsettled')),
    fields jsonb NOT NULL DEFAULT '[]',
    fingerprint text NOT NULL,
    reason text,
    resolution text CHECK (resolution IN ('document', 'relational')),
    decided_by text,
    decision text,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    moved_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz
);
-- One open diff per record.
CREATE UNIQUE INDEX diffs_open ON diffs (entity, key)
    WHERE status IN ('open', 'in_review', 'approved', 'unsettled');
CREATE INDEX diffs_record ON diffs (entity, key, id);
CREATE INDEX diffs_run ON diffs (run_id, id) WHERE run_id IS NOT NULL;
CREATE INDEX diffs_status ON diffs (status, id);

CREATE TABLE watermarks (
    entity text NOT NULL,
    source text NOT NULL,
    seen_until timestamptz NOT NULL,
    PRIMARY KEY (entity, source)
);

CREATE TABLE repair_counts (
    entity text NOT NULL,
    counted_at timestamptz NOT NULL,
    changes integer NOT NULL DEFAULT 0,
    deletes integer NOT NULL DEFAULT 0,
    PRIMARY KEY (entity, counted_at)
);

CREATE TABLE breakers (
    entity text PRIMARY KEY,
    tripped_at timestamptz,
    reason text,
    counted_from timestamptz NOT NULL DEFAULT '-infinity',
    allowed_changes bigint NOT NULL DEFAULT 0,
    allowed_deletes bigint NOT NULL DEFAULT 0
);

CREATE TABLE schedules (
    name text PRIMARY KEY,
    cron text NOT NULL,
    zone text NOT NULL DEFAULT 'UTC',
    actor text NOT NULL,
    args jsonb NOT NULL DEFAULT '{}',
    catch_up text NOT NULL CHECK (catch_up IN ('fire_once', 'fire_all', 'skip')),
    fixed boolean NOT NULL DEFAULT true,
    enabled boolean NOT NULL DEFAULT true,
    retired_at timestamptz,
    evaluated_until timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ticks (
    schedule text NOT NULL REFERENCES schedules (name) ON DELETE CASCADE,
    tick timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'fired', 'caught_up', 'missed')),
    reason text,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    attempted_at timestamptz,
    sent_at timestamptz,
    PRIMARY KEY (schedule, tick)
);
CREATE INDEX ticks_pending ON ticks (tick) WHERE status = 'pending';

CREATE TABLE leases (
    name text PRIMARY KEY,
    holder text NOT NULL,
    acquired_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Facts about core-DB rows on their way to the audit store, in the transaction that made them true.
CREATE TABLE audit_outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    entry jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

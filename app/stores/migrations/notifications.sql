-- Mail: a batch is what one call, one tick of a schedule or one event of ours asked for; a notification is one mail to one
-- recipient. The row is the outbox: it commits with whatever caused it, and whoever delivers looks for rows that are due.

CREATE TABLE notification_batches (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    caused_by text NOT NULL,
    client text, -- through which it was asked for; null is this service itself
    template text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE notifications (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    batch_id uuid NOT NULL REFERENCES notification_batches,
    template text NOT NULL,
    template_version integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('security', 'booking', 'alert', 'digest', 'operations')),
    locale text NOT NULL,
    -- Who: an address alone, or somebody of ours by id.
    recipient_kind text NOT NULL CHECK (recipient_kind IN ('address', 'customer', 'supplier', 'user')),
    recipient_id uuid,
    -- Null once the person is forgotten.
    email text,
    email_key text,
    -- What the template is filled with. What is a secret (links of accounts) is locked with a key outside of the database.
    data jsonb,
    locked_data text,
    -- 0 is before all that anybody may ask for.
    priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 5),
    state text NOT NULL CHECK (state IN
        ('scheduled', 'pending', 'sending', 'sent', 'delivered', 'failed', 'expired', 'cancelled', 'suppressed', 'unknown')),
    because text,
    transport text NOT NULL,
    send_at timestamptz NOT NULL,
    not_after timestamptz,
    -- When it is looked at next; null once nothing more is to be done.
    next_at timestamptz,
    claimed_by text,
    claimed_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    -- Those of the attempts that the provider asked to be repeated.
    tries integer NOT NULL DEFAULT 0,
    subject text,
    body_text text,
    body_html text,
    erased_at timestamptz,
    provider_id text,
    -- Once per schedule, tick and occasion (a booking, a supplier), whoever fires it and however often.
    schedule text,
    tick timestamptz,
    occasion text,
    retry_of uuid UNIQUE REFERENCES notifications,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((schedule IS NULL) = (tick IS NULL) AND (schedule IS NULL) = (occasion IS NULL))
);
CREATE INDEX notifications_due ON notifications (transport, priority, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX notifications_late ON notifications (not_after) WHERE next_at IS NOT NULL AND not_after IS NOT NULL;
CREATE INDEX notifications_state ON notifications (state, id);
CREATE INDEX notifications_template ON notifications (template, id);
CREATE INDEX notifications_email ON notifications (email_key, id);
CREATE INDEX notifications_recipient ON notifications (recipient_id, id) WHERE recipient_id IS NOT NULL;
CREATE INDEX notifications_batch ON notifications (batch_id, id);
CREATE UNIQUE INDEX notifications_occasion ON notifications (schedule, tick, occasion) WHERE schedule IS NOT NULL;
CREATE INDEX notifications_bodies ON notifications (updated_at) WHERE erased_at IS NULL AND next_at IS NULL;
CREATE INDEX notifications_failed ON notifications (updated_at) WHERE state = 'failed';
CREATE INDEX notifications_schedule ON notifications (schedule, id) WHERE schedule IS NOT NULL;

CREATE TABLE notification_attempts (
    notification_id uuid NOT NULL REFERENCES notifications,
    number integer NOT NULL,
    transport text NOT NULL,
    started_at timestamptz NOT NULL,
    -- The last moment before the provider could have accepted it: until then it was certainly not sent.
    handed_at timestamptz,
    ended_at timestamptz,
    outcome text CHECK (outcome IN ('accepted', 'refused', 'retry', 'unknown', 'abandoned')),
    code text,
    detail text,
    retry_at timestamptz,
    PRIMARY KEY (notification_id, number)
);

-- Every transition, for whoever asks why a mail went, or did not.
CREATE TABLE notification_events (
    notification_id uuid NOT NULL REFERENCES notifications,
    number integer NOT NULL,
    at timestamptz NOT NULL,
    state text NOT NULL,
    because text,
    caused_by text NOT NULL,
    PRIMARY KEY (notification_id, number)
);

CREATE TABLE notification_callbacks (
    provider_event text PRIMARY KEY,
    notification_id uuid NOT NULL REFERENCES notifications,
    kind text NOT NULL CHECK (kind IN ('delivered', 'bounced', 'complained', 'deferred')),
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    detail text
);
CREATE INDEX notification_callbacks_of ON notification_callbacks (notification_id, at);

CREATE TABLE suppressions (
    email_key text NOT NULL,
    -- Everything, or one kind of mail.
    scope text NOT NULL CHECK (scope IN ('all', 'alert', 'digest')),
    reason text NOT NULL CHECK (reason IN ('hard_bounce', 'complaint', 'unsubscribe', 'operator')),
    notification_id uuid,
    caused_by text NOT NULL,
    note text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (email_key, scope)
);

-- What was answered to a call that bore an Idempotency-Key: the same call is answered so again, and not carried out again.
CREATE TABLE idempotency_keys (
    client text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    answer jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (client, key)
);
CREATE INDEX idempotency_keys_expired ON idempotency_keys (expires_at);

-- What mails are rendered from. Versions are never changed: a mail can always be shown as the one that it was.
CREATE TABLE notification_templates (
    name text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('security', 'booking', 'alert', 'digest', 'operations')),
    purpose text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    -- Why nothing is sent from it, where nothing is.
    disabled_because text,
    current integer NOT NULL,
    -- Counts changes of this row, for whoever changes it on the grounds of what they have read.
    revision integer NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE template_versions (
    name text NOT NULL REFERENCES notification_templates,
    version integer NOT NULL,
    -- What its data must be like, the mail by locale, and data to show it with.
    schema jsonb NOT NULL,
    locales jsonb NOT NULL,
    sample jsonb NOT NULL,
    -- Of a version that came with the service: tells whether the service brings another one now.
    shipped_hash text,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version)
);

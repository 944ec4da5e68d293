-- Whether mail is handed over to an external service now. A service without a row is one that has not failed yet.
CREATE TABLE transport_circuits (
    name text PRIMARY KEY,
    state text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'trial')),
    -- Of the service, in a row; and how often in a row it was found to fail still.
    failures integer NOT NULL DEFAULT 0,
    openings integer NOT NULL DEFAULT 0,
    because text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    -- From when somebody may try: while it is open for the first time, during a trial in the place of whoever died of it.
    trial_at timestamptz,
    trial_id uuid,
    CHECK ((state = 'closed') = (trial_at IS NULL) AND (state = 'trial') = (trial_id IS NOT NULL))
);

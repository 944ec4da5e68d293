-- What operators are to hear of, and have heard of.

-- What was last said of the audit's record, by whoever holds it to its seals: here, for where it is at fault the audit store may
-- take nothing more.
CREATE TABLE audit_verdicts (
    source text PRIMARY KEY CHECK (source IN ('sealer', 'archiver', 'verifier')),
    -- Where the first fault is, and what it is; null where there is none.
    place text,
    reason text,
    -- When it was said first, and last.
    since timestamptz NOT NULL,
    said_at timestamptz NOT NULL,
    CHECK ((place IS NULL) = (reason IS NULL))
);

-- By cause: since when there was the trouble that operators were told of last, and when they were.
CREATE TABLE alerts (
    cause text PRIMARY KEY,
    began_at timestamptz NOT NULL,
    told_at timestamptz NOT NULL
);

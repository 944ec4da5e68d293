-- Which versions of a record's two sides agreed: no watermark needs to nominate those again.
CREATE TABLE agreements (
    entity text NOT NULL,
    key text NOT NULL,
    document_at timestamptz NOT NULL,
    relational_at timestamptz NOT NULL,
    agreed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (entity, key)
);

ALTER TABLE refresh_tokens ADD COLUMN successor_hash bytea;
-- Few have one at any time: it is cleared soon after the answer that told it.
CREATE INDEX refresh_tokens_successors ON refresh_tokens (used_at) WHERE successor IS NOT NULL;

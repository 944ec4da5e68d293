-- Sessions are forgotten some time after their end, whatever has ended them.
CREATE INDEX sessions_expired ON sessions (expires_at);

-- Whether the password is too short to be the only factor. Of one that is set already it is not known.
ALTER TABLE users ADD COLUMN password_short boolean NOT NULL DEFAULT false;
UPDATE users SET password_short = true WHERE totp_confirmed_at IS NOT NULL;

-- A proposed device waits for a short while, and for a few codes.
ALTER TABLE users ADD COLUMN totp_proposed_at timestamptz;
ALTER TABLE users ADD COLUMN totp_tries integer NOT NULL DEFAULT 0;

-- A link is for the address that it is sent to, as that is spelled. Somebody who has no account asks for a link that goes to
-- nobody, and nothing must take longer for anybody: so there is no reference to users, who are never deleted as rows anyway.
DROP TABLE account_links;
CREATE TABLE account_links (
    token_hash bytea PRIMARY KEY,
    user_id uuid,
    purpose text NOT NULL CHECK (purpose IN ('reset', 'verify', 'change')),
    -- Null where the link goes to nobody.
    email text,
    -- Keyed: of whoever has asked.
    address_hash bytea NOT NULL,
    -- The one in which it was asked for, and that goes on.
    session_id uuid,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX account_links_user ON account_links (user_id, purpose);
CREATE INDEX account_links_address ON account_links (address_hash, purpose, created_at);

-- Hashes are keyed from now on, so the old ones are found no more. `user_id` is who had the address when it was tried last;
-- no reference, for it must take as long where there is none.
DELETE FROM sign_in_failures;
ALTER TABLE sign_in_failures ADD COLUMN user_id uuid;
CREATE INDEX sign_in_failures_user ON sign_in_failures (user_id);

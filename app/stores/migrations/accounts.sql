-- Users, the services that call us, and what proves who they are. Secrets are here as hashes, or encrypted with a key that
-- lies outside of the database.

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    email text,
    -- The address as two spellings of it are one; null once the user is deleted.
    email_key text UNIQUE,
    email_verified_at timestamptz,
    given_name text NOT NULL DEFAULT '',
    family_name text NOT NULL DEFAULT '',
    roles text[] NOT NULL DEFAULT '{}',
    status text NOT NULL CHECK (status IN ('pending', 'active', 'locked', 'disabled', 'deleted')),
    password_hash text,
    password_changed_at timestamptz,
    totp_key text,
    totp_confirmed_at timestamptz,
    -- The step of the last code that was taken: no code is good twice.
    totp_step bigint NOT NULL DEFAULT 0,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX users_status ON users (status, id);
CREATE INDEX users_roles ON users USING gin (roles);

CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users,
    code_hash bytea NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (user_id, code_hash)
);

-- Tries in a row that were wrong, by the hash of the address that was given, whether anybody has it or not: so that it takes
-- as long for both.
CREATE TABLE sign_in_failures (
    address_hash bytea PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL
);
CREATE INDEX sign_in_failures_last ON sign_in_failures (last_at);

-- Links in mails: to set a new password, to prove an address.
CREATE TABLE account_links (
    token_hash bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    purpose text NOT NULL CHECK (purpose IN ('reset', 'verify')),
    email_key text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX account_links_user ON account_links (user_id, purpose);

CREATE TABLE clients (
    name text PRIMARY KEY,
    scopes text[] NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'disabled')),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- A secret (its hash) or a public key (a JWK). Two of a client may be good at a time, so that one can take the place of the other.
CREATE TABLE client_credentials (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    client text NOT NULL REFERENCES clients,
    secret_hash bytea UNIQUE,
    public_key jsonb,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    CHECK ((secret_hash IS NULL) <> (public_key IS NULL))
);
CREATE INDEX client_credentials_client ON client_credentials (client, id);

-- Assertions by which a client has proven itself: none is good twice (RFC 7523, section 3).
CREATE TABLE client_assertions (
    client text NOT NULL REFERENCES clients,
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (client, jti)
);
CREATE INDEX client_assertions_expired ON client_assertions (expires_at);

-- A sign-in and all refresh tokens that come from it.
CREATE TABLE sessions (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    user_id uuid NOT NULL REFERENCES users,
    client text NOT NULL REFERENCES clients,
    methods text[] NOT NULL,
    client_ip inet,
    device text,
    created_at timestamptz NOT NULL,
    used_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    ended_because text
);
CREATE INDEX sessions_user ON sessions (user_id, id);
CREATE INDEX sessions_open ON sessions (user_id) WHERE ended_at IS NULL;

CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    -- What took its place, encrypted: whoever lost the answer is given the same one, for a moment.
    successor text
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

-- Keys that sign access tokens: published before they are used, and for as long as a token of theirs may be about.
CREATE TABLE token_keys (
    id text PRIMARY KEY,
    private_key text NOT NULL,
    public_key jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    used_from timestamptz NOT NULL,
    used_until timestamptz NOT NULL,
    published_until timestamptz NOT NULL
);

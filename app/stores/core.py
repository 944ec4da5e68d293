"""The core DB: our own tables, as migrations/ creates them. A test holds the two against each other."""

from piccolo.columns import (
    JSONB,
    UUID,
    Array,
    BigInt,
    Boolean,
    Bytea,
    DoublePrecision,
    Integer,
    SmallInt,
    Text,
    Timestamptz,
)
from piccolo.table import Table


class Job(Table, tablename="jobs"):
    name = Text(primary_key=True)
    entity = Text()
    mode = Text()
    repairs = Boolean()
    paused = Boolean()
    updated_at = Timestamptz()


class Run(Table, tablename="runs"):
    id = UUID(primary_key=True)
    entity = Text()
    mode = Text()
    dry_run = Boolean()
    status = Text()
    cause = Text()
    requested_by = Text()
    mapping_hash = Text()
    reason = Text(null=True)
    document_records = BigInt()
    relational_records = BigInt()
    expected_records = BigInt()
    findings = BigInt()
    created_at = Timestamptz()
    started_at = Timestamptz(null=True)
    compared_at = Timestamptz(null=True)
    finished_at = Timestamptz(null=True)
    paused_at = Timestamptz(null=True)
    paused_seconds = DoublePrecision()
    records_per_second = Integer(null=True)
    warnings = Array(base_column=Text())
    compare_seconds = DoublePrecision(null=True)
    nominated = BigInt()


class Partition(Table, tablename="partitions"):
    run_id = UUID(primary_key=True)
    number = Integer()
    low = Text(null=True)
    high = Text(null=True)
    status = Text()
    leased_until = Timestamptz(null=True)
    attempts = Integer()
    document_records = BigInt()
    relational_records = BigInt()
    findings = BigInt()
    finished_at = Timestamptz(null=True)


class Finding(Table, tablename="findings"):
    run_id = UUID(primary_key=True)
    key = Text()
    partition = Integer()
    kind = Text()
    fields = Array(base_column=Text())
    proposal = JSONB(null=True)


class Suspect(Table, tablename="suspects"):
    entity = Text(primary_key=True)
    key = Text()
    cause = Text()
    run_id = UUID(null=True)
    mode = Text()
    nominations = BigInt()
    attempts = Integer()
    waiting_for = Text(null=True)
    due_at = Timestamptz()
    leased_by = UUID(null=True)
    leased_until = Timestamptz()
    first_nominated_at = Timestamptz()


class Diff(Table, tablename="diffs"):
    id = UUID(primary_key=True)
    entity = Text()
    key = Text()
    run_id = UUID(null=True)
    cause = Text()
    kind = Text()
    status = Text()
    fields = JSONB()
    fingerprint = Text()
    reason = Text(null=True)
    resolution = Text(null=True)
    decided_by = Text(null=True)
    decision = Text(null=True)
    first_seen_at = Timestamptz()
    moved_at = Timestamptz()
    closed_at = Timestamptz(null=True)
    invariant = Text()
    persons = Array(base_column=Text())
    erased_at = Timestamptz(null=True)


class Hold(Table, tablename="holds"):
    entity = Text(primary_key=True)
    key = Text()
    reason = Text()
    placed_by = Text()
    placed_at = Timestamptz()
    undo_id = UUID(null=True)


class Undo(Table, tablename="undos"):
    id = UUID(primary_key=True)
    run_id = UUID(null=True)
    reason = Text()
    requested_by = Text()
    status = Text()
    created_at = Timestamptz()
    leased_by = UUID(null=True)
    leased_until = Timestamptz()
    finished_at = Timestamptz(null=True)


class UndoItem(Table, tablename="undo_items"):
    undo_id = UUID(primary_key=True)
    sequence = BigInt()
    change_id = UUID()
    entity = Text()
    key = Text()
    side = Text()
    status = Text()
    reason = Text(null=True)
    undone_by = UUID(null=True)


class Agreement(Table, tablename="agreements"):
    entity = Text(primary_key=True)
    key = Text()
    document_at = Timestamptz()
    relational_at = Timestamptz()
    agreed_at = Timestamptz()


class Watermark(Table, tablename="watermarks"):
    entity = Text(primary_key=True)
    source = Text()
    seen_until = Timestamptz()


class RepairCount(Table, tablename="repair_counts"):
    entity = Text(primary_key=True)
    counted_at = Timestamptz()
    changes = Integer()
    deletes = Integer()


class Breaker(Table, tablename="breakers"):
    entity = Text(primary_key=True)
    tripped_at = Timestamptz(null=True)
    reason = Text(null=True)
    counted_from = Timestamptz()
    approved_run_id = UUID(null=True)
    allowed_changes = BigInt()
    allowed_deletes = BigInt()
    estimated_records = BigInt(null=True)
    estimated_at = Timestamptz(null=True)


class Schedule(Table, tablename="schedules"):
    name = Text(primary_key=True)
    cron = Text()
    zone = Text()
    actor = Text()
    args = JSONB()
    catch_up = Text()
    fixed = Boolean()
    declared = JSONB(null=True)
    edited = Boolean()
    enabled = Boolean()
    retired_at = Timestamptz(null=True)
    evaluated_until = Timestamptz()
    created_at = Timestamptz()
    updated_at = Timestamptz()


class Tick(Table, tablename="ticks"):
    schedule = Text(primary_key=True)
    tick = Timestamptz()
    status = Text()
    reason = Text(null=True)
    recorded_at = Timestamptz()
    attempted_at = Timestamptz(null=True)
    sent_at = Timestamptz(null=True)
    triggered_by = Text(null=True)
    finished_at = Timestamptz(null=True)
    mails = Integer()
    skipped = Integer()
    note = Text(null=True)
    resent = Integer()
    resent_at = Timestamptz(null=True)


class Lease(Table, tablename="leases"):
    name = Text(primary_key=True)
    holder = Text()
    acquired_at = Timestamptz()
    expires_at = Timestamptz()


class AuditOutbox(Table, tablename="audit_outbox"):
    position = BigInt(primary_key=True)
    id = UUID()
    entry = JSONB()
    recorded_at = Timestamptz()


class AuditSeal(Table, tablename="audit_seals"):
    number = BigInt(primary_key=True)
    first_sequence = BigInt()
    last_sequence = BigInt()
    seal = Text()
    leaves = Bytea(null=True)


class AuditVerdict(Table, tablename="audit_verdicts"):
    source = Text(primary_key=True)
    place = Text(null=True)
    reason = Text(null=True)
    since = Timestamptz()
    said_at = Timestamptz()


class Alert(Table, tablename="alerts"):
    cause = Text(primary_key=True)
    began_at = Timestamptz()
    told_at = Timestamptz()


class PersonKey(Table, tablename="person_keys"):
    id = UUID(primary_key=True)
    person = Text()
    key = Bytea(null=True)
    created_at = Timestamptz()
    forgotten_at = Timestamptz(null=True)


class AuditArchive(Table, tablename="audit_archives"):
    number = BigInt(primary_key=True)
    first_sequence = BigInt()
    last_sequence = BigInt()
    file = Text()
    bytes = BigInt()
    tombstone = Text()
    trimmed_at = Timestamptz(null=True)


class AuditArchiveOrder(Table, tablename="audit_archive_orders"):
    id = UUID(primary_key=True)
    before = Timestamptz()
    created_at = Timestamptz()
    finished_at = Timestamptz(null=True)
    archives = BigInt(null=True)
    entries = BigInt(null=True)
    refused = Text(null=True)


class User(Table, tablename="users"):
    id = UUID(primary_key=True)
    email = Text(null=True)
    email_key = Text(null=True)
    email_verified_at = Timestamptz(null=True)
    given_name = Text()
    family_name = Text()
    roles = Array(base_column=Text())
    status = Text()
    password_hash = Text(null=True)
    password_changed_at = Timestamptz(null=True)
    totp_key = Text(null=True)
    totp_confirmed_at = Timestamptz(null=True)
    totp_step = BigInt()
    totp_proposed_at = Timestamptz(null=True)
    totp_tries = Integer()
    password_short = Boolean()
    locale = Text(null=True)
    version = Integer()
    created_at = Timestamptz()
    updated_at = Timestamptz()


class RecoveryCode(Table, tablename="recovery_codes"):
    user_id = UUID(primary_key=True)
    code_hash = Bytea()
    used_at = Timestamptz(null=True)


class SignInFailure(Table, tablename="sign_in_failures"):
    address_hash = Bytea(primary_key=True)
    failures = Integer()
    last_at = Timestamptz()
    user_id = UUID(null=True)


class AccountLink(Table, tablename="account_links"):
    token_hash = Bytea(primary_key=True)
    user_id = UUID(null=True)
    purpose = Text()
    email = Text(null=True)
    address_hash = Bytea()
    session_id = UUID(null=True)
    created_at = Timestamptz()
    expires_at = Timestamptz()
    used_at = Timestamptz(null=True)


class Client(Table, tablename="clients"):
    name = Text(primary_key=True)
    scopes = Array(base_column=Text())
    status = Text()
    created_by = Text()
    created_at = Timestamptz()
    updated_at = Timestamptz()


class ClientCredential(Table, tablename="client_credentials"):
    id = UUID(primary_key=True)
    client = Text()
    secret_hash = Bytea(null=True)
    public_key = JSONB(null=True)
    created_by = Text()
    created_at = Timestamptz()
    expires_at = Timestamptz(null=True)
    last_used_at = Timestamptz(null=True)
    revoked_at = Timestamptz(null=True)


class ClientAssertion(Table, tablename="client_assertions"):
    client = Text(primary_key=True)
    jti = Text()
    expires_at = Timestamptz()


class Session(Table, tablename="sessions"):
    id = UUID(primary_key=True)
    user_id = UUID()
    client = Text()
    methods = Array(base_column=Text())
    client_ip = Text(null=True)
    device = Text(null=True)
    created_at = Timestamptz()
    used_at = Timestamptz()
    expires_at = Timestamptz()
    ended_at = Timestamptz(null=True)
    ended_because = Text(null=True)


class RefreshToken(Table, tablename="refresh_tokens"):
    token_hash = Bytea(primary_key=True)
    session_id = UUID()
    created_at = Timestamptz()
    expires_at = Timestamptz()
    used_at = Timestamptz(null=True)
    successor = Text(null=True)
    successor_hash = Bytea(null=True)


class TokenKey(Table, tablename="token_keys"):
    id = Text(primary_key=True)
    private_key = Text()
    public_key = JSONB()
    created_at = Timestamptz()
    used_from = Timestamptz()
    used_until = Timestamptz()
    published_until = Timestamptz()


class TransportCircuit(Table, tablename="transport_circuits"):
    name = Text(primary_key=True)
    state = Text()
    failures = Integer()
    openings = Integer()
    because = Text(null=True)
    changed_at = Timestamptz()
    trial_at = Timestamptz(null=True)
    trial_id = UUID(null=True)


class NotificationTemplate(Table, tablename="notification_templates"):
    name = Text(primary_key=True)
    kind = Text()
    purpose = Text()
    enabled = Boolean()
    disabled_because = Text(null=True)
    current = Integer()
    revision = Integer()
    updated_at = Timestamptz()


class TemplateVersion(Table, tablename="template_versions"):
    name = Text(primary_key=True)
    version = Integer()
    schema = JSONB()
    locales = JSONB()
    sample = JSONB()
    shipped_hash = Text(null=True)
    made_by = Text()
    made_at = Timestamptz()


class NotificationBatch(Table, tablename="notification_batches"):
    id = UUID(primary_key=True)
    caused_by = Text()
    client = Text(null=True)
    template = Text()
    metadata = JSONB()
    created_at = Timestamptz()


class Notification(Table, tablename="notifications"):
    id = UUID(primary_key=True)
    batch_id = UUID()
    template = Text()
    template_version = Integer()
    kind = Text()
    locale = Text()
    recipient_kind = Text()
    recipient_id = UUID(null=True)
    email = Text(null=True)
    email_key = Text(null=True)
    data = JSONB(null=True)
    locked_data = Text(null=True)
    priority = SmallInt()
    state = Text()
    because = Text(null=True)
    transport = Text()
    send_at = Timestamptz()
    not_after = Timestamptz(null=True)
    next_at = Timestamptz(null=True)
    claimed_by = Text(null=True)
    claimed_until = Timestamptz(null=True)
    attempts = Integer()
    tries = Integer()
    subject = Text(null=True)
    body_text = Text(null=True)
    body_html = Text(null=True)
    erased_at = Timestamptz(null=True)
    provider_id = Text(null=True)
    schedule = Text(null=True)
    tick = Timestamptz(null=True)
    occasion = Text(null=True)
    retry_of = UUID(null=True)
    version = Integer()
    created_at = Timestamptz()
    updated_at = Timestamptz()


class NotificationAttempt(Table, tablename="notification_attempts"):
    notification_id = UUID(primary_key=True)
    number = Integer()
    transport = Text()
    started_at = Timestamptz()
    handed_at = Timestamptz(null=True)
    ended_at = Timestamptz(null=True)
    outcome = Text(null=True)
    code = Text(null=True)
    detail = Text(null=True)
    retry_at = Timestamptz(null=True)


class NotificationEvent(Table, tablename="notification_events"):
    notification_id = UUID(primary_key=True)
    number = Integer()
    at = Timestamptz()
    state = Text()
    because = Text(null=True)
    caused_by = Text()


class NotificationCallback(Table, tablename="notification_callbacks"):
    provider_event = Text(primary_key=True)
    notification_id = UUID()
    kind = Text()
    at = Timestamptz()
    received_at = Timestamptz()
    detail = Text(null=True)


class Suppression(Table, tablename="suppressions"):
    email_key = Text(primary_key=True)
    scope = Text()
    reason = Text()
    notification_id = UUID(null=True)
    caused_by = Text()
    note = Text(null=True)
    created_at = Timestamptz()


class IdempotencyKey(Table, tablename="idempotency_keys"):
    client = Text(primary_key=True)
    key = Text()
    fingerprint = Bytea()
    answer = JSONB()
    created_at = Timestamptz()
    expires_at = Timestamptz()


CORE_TABLES: tuple[type[Table], ...] = (
    Job,
    Run,
    Partition,
    Finding,
    Suspect,
    Diff,
    Hold,
    Undo,
    UndoItem,
    Agreement,
    Watermark,
    RepairCount,
    Breaker,
    Schedule,
    Tick,
    Lease,
    AuditOutbox,
    AuditSeal,
    AuditVerdict,
    Alert,
    PersonKey,
    AuditArchive,
    AuditArchiveOrder,
    User,
    RecoveryCode,
    SignInFailure,
    AccountLink,
    Client,
    ClientCredential,
    ClientAssertion,
    Session,
    RefreshToken,
    TokenKey,
    TransportCircuit,
    NotificationTemplate,
    TemplateVersion,
    NotificationBatch,
    Notification,
    NotificationAttempt,
    NotificationEvent,
    NotificationCallback,
    Suppression,
    IdempotencyKey,
)

"""What a running system answers, with every value filled in."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.accounts.permissions import Role, Scope
from app.accounts.views import ClientView, CredentialView, Status, UserView
from app.reconciliation.ledger.views import (
    ChangeView,
    DiffView,
    FieldView,
    HoldView,
    JobView,
    RunView,
    UndoItemView,
    UndoView,
)

RUN_ID = UUID("01938f6e-0000-7000-8000-000000000001")
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DIFF_ID = UUID("01938f6e-0000-7000-8000-000000000002")
KEY = "01938f6e-0000-7000-8000-00000000000a"
OTHER_ID = UUID("01938f6e-0000-7000-8000-000000000003")
UNDO_ID = UUID("01938f6e-0000-7000-8000-000000000004")
CHANGE_ID = UUID("01938f6e-0000-7000-8000-000000000005")


def make_run(**changes: Any) -> RunView:
    values: dict[str, Any] = {
        "id": RUN_ID,
        "entity": "customers",
        "mode": "full",
        "dry_run": False,
        "status": "done",
        "cause": "operator",
        "requested_by": "operator",
        "mapping_hash": "abc",
        "reason": None,
        "partitions": 4,
        "partitions_done": 4,
        "document_records": 1000,
        "relational_records": 999,
        "expected_records": 2000,
        "findings": 5,
        "pending": 0,
        "outcomes": {"repaired": 4, "in_review": 1},
        "consequences": {},
        "kinds": {"fields": 3, "missing_document": 2},
        "nominated": 5,
        "rate": None,
        "eta_seconds": None,
        "created_at": START,
        "started_at": START,
        "compared_at": START + timedelta(seconds=5),
        "finished_at": START + timedelta(seconds=10),
        "paused_at": None,
        "paused_seconds": 0.0,
        "compare_seconds": 5.0,
        "records_per_second": None,
        "warnings": [],
    }
    return RunView(**values | changes)


def make_diff(**changes: Any) -> DiffView:
    values: dict[str, Any] = {
        "id": DIFF_ID,
        "entity": "bookings",
        "key": KEY,
        "run_id": RUN_ID,
        "cause": "event",
        "kind": "fields",
        "status": "in_review",
        "fields": [
            FieldView("status", "Cancelled", "Completed", "precedence", None, None),
            FieldView("number_of_seats", 1, 2, "the document side is right", "document", 1),
        ],
        "fingerprint": "f",
        "reason": "no side is right",
        "resolution": None,
        "decided_by": None,
        "decision": None,
        "first_seen_at": START,
        "moved_at": START,
        "closed_at": None,
        "approvable": True,
    }
    return DiffView(**values | changes)


def make_hold(**changes: Any) -> HoldView:
    values: dict[str, Any] = {
        "entity": "bookings",
        "key": KEY,
        "reason": "a legal matter",
        "placed_by": "operator",
        "placed_at": START,
        "undo_id": None,
    }
    return HoldView(**values | changes)


def make_job(name: str = "bookings-full", **changes: Any) -> JobView:
    entity, mode = name.split("-")
    values = {"schedule": "0 2 * * *", "repairs": False, "paused": False, "updated_at": START}
    return JobView(name=name, entity=entity, mode=mode, **values | changes)


def make_change(**changes: Any) -> ChangeView:
    values: dict[str, Any] = {
        "id": UUID(int=7),
        "entity": "bookings",
        "key": KEY,
        "side": "relational",
        "action": "update",
        "before": {"status": "Confirmed", "number_of_seats": 2, "same": 1},
        "after": {"status": "Completed", "number_of_seats": 1, "same": 1},
        "policy": {"status": "Completed beats Confirmed", "number_of_seats": "the document side is right"},
        "cause": "event",
        "diff_id": DIFF_ID,
        "run_id": None,
        "intended_at": START,
        "outcome": "applied",
        "detail": None,
        "finished_at": START + timedelta(seconds=1),
    }
    return ChangeView(**values | changes)


def make_undo(**changes: Any) -> UndoView:
    values: dict[str, Any] = {
        "id": UNDO_ID,
        "run_id": None,
        "reason": "wrong",
        "requested_by": "operator",
        "status": "done",
        "changes": 3,
        "records": 2,
        "pending": 0,
        "undone": 3,
        "refused": 0,
        "created_at": START,
        "finished_at": START,
    }
    return UndoView(**values | changes)


def make_item(**changes: Any) -> UndoItemView:
    values: dict[str, Any] = {
        "change_id": CHANGE_ID,
        "entity": "bookings",
        "key": KEY,
        "side": "document",
        "status": "refused",
        "reason": "changed since: status",
        "undone_by": None,
    }
    return UndoItemView(**values | changes)


def make_user(**changes: Any) -> UserView:
    values: dict[str, Any] = {
        "id": UUID(int=8),
        "email": "ada@example.com",
        "email_verified_at": START,
        "given_name": "Ada",
        "family_name": "Lovelace",
        "locale": None,
        "roles": [Role.OPERATOR],
        "status": Status.ACTIVE,
        "second_factor": True,
        "password_changed_at": START,
        "version": 3,
        "created_at": START,
        "updated_at": START,
    }
    return UserView(**values | changes)


def make_credential(**changes: Any) -> CredentialView:
    values: dict[str, Any] = {
        "id": UUID(int=9),
        "kind": "secret",
        "created_by": "operator",
        "created_at": START,
        "expires_at": None,
        "last_used_at": START,
        "revoked_at": None,
    }
    return CredentialView(**values | changes)


def make_client(**changes: Any) -> ClientView:
    values: dict[str, Any] = {
        "name": "jobs",
        "scopes": [Scope.USERS_READ],
        "status": "active",
        "created_by": "operator",
        "created_at": START,
        "updated_at": START,
        "credentials": [make_credential()],
    }
    return ClientView(**values | changes)

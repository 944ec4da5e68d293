"""Which rights on the document side an entity needs, and which of them a user lacks."""

from collections.abc import Sequence
from typing import Any

from app.reconciliation.mapping import Authority, Mapping, Missing, Side

Privilege = dict[str, Any]
# On the database: whether a collection is gone, and how one is ordered.
_OF_DATABASE = "listCollections"


def rights_needed(mapping: Mapping) -> list[str]:
    """The actions on the mapped collection that scans and repairs may need."""
    rights = ["find", "listIndexes"]
    if mapping.missing_document in {Missing.CREATE, Missing.REVIEW}:
        rights.append("insert")
    if mapping.document_deleted or any(each.rule != Authority(Side.DOCUMENT) for each in mapping.fields):
        rights.append("update")
    if mapping.missing_relational in {Missing.REMOVE, Missing.REVIEW} and not mapping.document_deleted:
        rights.append("remove")
    return rights


def rights_missing(mapping: Mapping, database: str, privileges: Sequence[Privilege]) -> dict[str, list[str]]:
    """The actions that these privileges, as `connectionStatus` tells them, do not allow.

    By collection; those on the database itself by the empty name.
    """
    needed = {"": [_OF_DATABASE]} | {source.collection: ["find"] for source in mapping.sources}
    needed[mapping.collection] = rights_needed(mapping)
    missing = {
        collection: [action for action in actions if not _allowed(action, database, collection, privileges)]
        for collection, actions in needed.items()
    }
    return {collection: actions for collection, actions in missing.items() if actions}


def _allowed(action: str, database: str, collection: str, privileges: Sequence[Privilege]) -> bool:
    return any(
        action in each["actions"] and _covers(each["resource"], database, collection) for each in privileges
    )


def _covers(resource: Privilege, database: str, collection: str) -> bool:
    """An empty name in a resource stands for every one."""
    return bool(resource.get("anyResource")) or (
        resource.get("db") in {"", database} and resource.get("collection") in {"", collection}
    )

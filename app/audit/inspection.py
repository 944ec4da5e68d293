"""Verification by the clock, and what is made of a verdict: operators hear of it, and it becomes a fact of the record itself."""

import asyncpg
from loguru import logger

from app.audit import verdicts
from app.audit.entries import Fact
from app.audit.outbox import record
from app.audit.sealing.keys import trusted_by
from app.audit.verification.report import Finding, Report
from app.audit.verification.seals import read_keys
from app.audit.verification.stores import open_evidence
from app.audit.verification.walk import verify
from config.settings import Settings

# Any constant will do that nobody else takes. A lock and no lease: nobody could renew one while the verifier reads.
_LOCK = 4_205_503


async def take_turn(settings: Settings) -> Report | None:
    """Verify the audit store and the archives by the keys that the settings trust; None where somebody is at it, or no key is set.

    It takes minutes for millions of entries, and keeps its event loop from all else meanwhile: give it one of its own.
    Raises StoreUnavailableError, and what the core DB's driver raises.
    """
    keys = trusted_by(settings)
    if not keys:
        logger.warning("verification.skipped")
        return None
    seconds = settings.store_timeout_seconds
    core = await asyncpg.connect(settings.url("core_database_url"), timeout=seconds, command_timeout=seconds)
    try:
        if not await core.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return None
        async with open_evidence(settings) as evidence:
            report = await verify(evidence, read_keys(keys))
        await tell(core, report, by=verdicts.VERIFIER)
    finally:
        await core.close()
    _log(report)
    return report


async def tell(core: asyncpg.Connection, report: Report, *, by: str) -> None:
    """Keep a verdict for operators to hear of, and as a fact. Raises what the core DB's driver raises."""
    first = report.findings[0] if report.findings else None
    place, reason = (place_of(first), first.message) if first else (None, None)
    async with core.transaction():
        await verdicts.say(core, verdicts.VERIFIER, place, reason)
        await record(
            core,
            Fact.VERIFICATION_FAILED if first else Fact.VERIFICATION_PASSED,
            by=by,
            target=place or f"seal {report.seals}",
            reason=reason,
            detail={
                "entries": report.entries,
                "seals": report.seals,
                "archives": report.archives,
                "faults": len(report.findings),
            },
        )


def place_of(finding: Finding) -> str:
    """Where a fault is, in the same words for the same place."""
    if finding.entry is not None:
        return f"entry {finding.entry}"
    return f"seal {finding.seal}" if finding.seal is not None else str(finding.wrong)


def _log(report: Report) -> None:
    if report.ok:
        counted = {"entries": report.entries, "seals": report.seals, "archives": report.archives}
        logger.bind(**counted, seconds=round(report.seconds, 1)).info("audit.verified")
        return
    first = report.findings[0]
    bound = logger.bind(place=place_of(first), reason=first.message, faults=len(report.findings))
    bound.error("verification.failed")

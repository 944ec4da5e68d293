"""Every event that a process of ours logs: its levels, and what it means. `docs/logging.md` has the same list.

A name is ``noun.verb``. An event that is not listed is not logged, and the other way round; a test sees to both.
"""

from typing import NamedTuple


class Event(NamedTuple):
    """At which levels an event is logged, and what it says."""

    levels: frozenset[str]
    meaning: str


def _at(*levels: str, meaning: str) -> Event:
    return Event(frozenset(levels), meaning)


EVENTS: dict[str, Event] = {
    "process.started": _at("INFO", meaning="A process has started; `version`, `pid`."),
    "process.stopped": _at("INFO", meaning="A process has ended of its own accord; `version`, `pid`."),
    "process.failed": _at("CRITICAL", meaning="A process ends by an exception that nobody caught."),
    "process.interrupted": _at("INFO", meaning="A process has ended because Ctrl-C was pressed."),
    "child.ended": _at(
        "WARNING",
        meaning="A process or store that `astrocore up` watches over has ended by itself, and is started again; `child`, "
        "`ending`, `delay_seconds`.",
    ),
    "thread.failed": _at("ERROR", meaning="A thread has ended by an exception that nobody caught; `thread`."),
    "exception.ignored": _at(
        "ERROR", meaning="Python could not raise an exception, in a finalizer for one, and went on; `object`."
    ),
    "library.reported": _at(
        "DEBUG",
        "INFO",
        "WARNING",
        "ERROR",
        "CRITICAL",
        meaning="A library said something through the standard library's logging; `logger`, `message`.",
    ),
    "request.served": _at(
        "DEBUG",
        "INFO",
        meaning="A request was answered; `method`, `path`, `status`, and `outcome` done, refused or failed. "
        "Probes of health are at DEBUG.",
    ),
    "request.failed": _at("ERROR", meaning="A request met an error that nobody expected, and got a 500."),
    "signin.refused": _at(
        "INFO",
        meaning="Somebody tried to sign in, or to prove once more who they are, and was refused; `account` and `machine` "
        "(keyed hashes of the addresses), `by`.",
    ),
    "code.asked": _at(
        "INFO",
        meaning="Somebody had the right password, and was asked for a code of the second factor; `account` and `machine` "
        "(keyed hashes of the addresses), `by`.",
    ),
    "signin.throttled": _at(
        "WARNING",
        meaning="It was tried too often; `what` (sign-in, reset, proof or mail), `account` and `machine` (keyed hashes of the "
        "addresses), `seconds` to wait.",
    ),
    "token.refused": _at("INFO", meaning="An access token was refused; `reason`."),
    "client.refused": _at(
        "WARNING", meaning="A client did not prove who it is; `client`, as it calls itself, and `reason`."
    ),
    "session.replayed": _at(
        "WARNING", meaning="A refresh token was used twice, and its session has ended; `session`, `user`."
    ),
    "accounts.trimmed": _at(
        "INFO",
        meaning="What is over was forgotten: how many `assertions`, `links`, `keys` of tokens, `refreshes` (used and expired "
        "refresh tokens), `sessions` and wrong tries (`failures`).",
    ),
    "accounts.kept": _at(
        "WARNING", meaning="What is over in accounts could not be forgotten now; `kind`, `fault`."
    ),
    "renewal.failed": _at(
        "WARNING",
        meaning="It could not be seen to that the next key of tokens is there in time; `fault`.",
    ),
    "attempt.kept": _at(
        "WARNING",
        meaning="A sign-in that succeeded still counts as a wrong try, for the broker's Redis went away meanwhile; `error`.",
    ),
    "key.skipped": _at(
        "ERROR",
        meaning="A key of tokens does not open, and its tokens are refused; `key`, `reason`: what it is encrypted with is not set.",
    ),
    "device.refused": _at(
        "ERROR",
        meaning="The key of a second factor does not open, so no code of it is right; `user`, `reason`.",
    ),
    "store.failed": _at("WARNING", meaning="A request could not be served because a store is away; `error`."),
    "wake.failed": _at(
        "WARNING", meaning="The broker is away: what was written is found by the next sweep; `error`."
    ),
    "message.processed": _at(
        "DEBUG",
        "INFO",
        meaning="A message was processed; `task`, `queue`, and `outcome` done, or idle (at DEBUG) when it found "
        "nothing to do.",
    ),
    "message.failed": _at(
        "WARNING", meaning="A message failed and is tried again; `task`, `queue`, `attempt`, the exception."
    ),
    "message.died": _at(
        "ERROR", meaning="A message failed for the last time; `task`, `queue`, `attempt`, the exception."
    ),
    "message.skipped": _at("WARNING", meaning="A message was put aside unprocessed; `task`, `queue`."),
    "stores.awaited": _at(
        "WARNING", meaning="A worker cannot open its stores yet and tries again; `reason`."
    ),
    "stores.opened": _at("INFO", meaning="A worker has opened its stores and takes messages; `threads`."),
    "lease.taken": _at("INFO", meaning="This scheduler leads from now on; `holder`."),
    "lease.lost": _at("WARNING", meaning="Another scheduler leads from now on; `holder`."),
    "lease.abandoned": _at(
        "WARNING", meaning="A scheduler could not give its lease back, which runs out by itself; `holder`."
    ),
    "broker.lost": _at("WARNING", meaning="The scheduler cannot reach the broker: ticks wait; `holder`."),
    "broker.found": _at("INFO", meaning="The broker answers the scheduler again; `holder`."),
    "database.lost": _at("WARNING", meaning="The scheduler cannot reach the core DB; `holder`, `error`."),
    "database.found": _at("INFO", meaning="The core DB answers the scheduler again; `holder`."),
    "clock.retreated": _at(
        "WARNING",
        meaning="The core DB's clock was set back: ticks count from now on; `schedule`, `evaluated_until`, `now`.",
    ),
    "schedules.loaded": _at(
        "INFO", meaning="The declared schedules are in the table; `loaded`, and the `retired` ones by name."
    ),
    "schedule.refused": _at(
        "ERROR", meaning="A declared schedule bears the name of one that was added by hand; `schedule`."
    ),
    "schedule.misread": _at("ERROR", meaning="A schedule's times cannot be read; `schedule`, `error`."),
    "tick.fired": _at("INFO", meaning="A tick's message was sent; `schedule`, `tick`, `task`, `caught_up`."),
    "tick.missed": _at(
        "WARNING",
        meaning="One tick was not sent (`schedule`, `tick`, `task`, `reason`), or many at once were too late (`schedule`, "
        "`count`, `first`, `last`).",
    ),
    "tick.finished": _at(
        "INFO",
        meaning="The mails of a tick were asked for, all of them; `schedule`, `tick`, `mails`, `skipped`, `reason`.",
    ),
    "tick.repeated": _at(
        "INFO",
        meaning="A tick came again that was seen through before; `schedule`, `tick`.",
    ),
    "tick.abandoned": _at(
        "WARNING",
        meaning="A tick's schedule, or its template, is gone; `schedule`, `tick`, `reason`.",
    ),
    "tick.resumed": _at(
        "WARNING",
        meaning="A tick of a schedule of mail that nobody had seen through was sent again; `schedule`, `tick`.",
    ),
    "ticks.kept": _at(
        "WARNING",
        meaning="A store is away: what nobody has seen through is sent again later; `reason`.",
    ),
    "mail.skipped": _at(
        "WARNING",
        meaning="A schedule cannot write to somebody; `schedule`, `kind`, `key`, and the `field` at fault.",
    ),
    "alert.raised": _at(
        "ERROR",
        meaning="Something needs an operator; `cause`, `severity`, `reason`, and how many `mails` tell it.",
    ),
    "watch.blinded": _at(
        "WARNING",
        meaning="A store is away: what it would show is not watched now; `reason`.",
    ),
    "fact.recorded": _at(
        "INFO",
        meaning="A fact was written for the audit store, in a transaction that may still fail; `fact`, `actor`, `count`, "
        "and of a single one `target`, `entity`, `key`, `run_id`.",
    ),
    "circuit.opened": _at(
        "WARNING",
        meaning="An external notification service failed time and again and is left alone for a while; `transport`, "
        "`failures`, `seconds`.",
    ),
    "mail.stumbled": _at(
        "ERROR",
        meaning="A mail met an error that nobody expected, and is tried again, or is `unknown`; `notification`, `error`.",
    ),
    "mails.stopped": _at(
        "WARNING",
        meaning="A store is away, or a setting missing: mail waits; `reason`.",
    ),
    "mail.settled": _at(
        "INFO",
        meaning="A mail was handed over, or ended otherwise; `notification`, `transport`, `number`, `state`.",
    ),
    "mail.delayed": _at(
        "WARNING",
        meaning="A mail could not be handed over now and is tried again; `notification`, `code`, `again_at`.",
    ),
    "circuit.closed": _at("INFO", meaning="An external notification service works again; `transport`."),
    "change.settled": _at(
        "DEBUG",
        meaning="A write to a record has its outcome; `entity`, `key`, `side`, `change_id`, `run_id`, `outcome`.",
    ),
    "changes.settled": _at(
        "INFO", meaning="Writes to records have their outcomes; `entity`, and how many of each outcome."
    ),
    "run.failed": _at("WARNING", meaning="A run has ended without a result; `run_id`, `reason`."),
    "run.resumed": _at("INFO", meaning="A run that was left behind is taken up again; `run_id`."),
    "scan.unwatched": _at(
        "WARNING",
        meaning="A scan could not report its counts or renew its lease this time; `run_id`, `fault`.",
    ),
    "batch.refused": _at(
        "ERROR",
        meaning="Records could not be judged together and are looked at one by one; `entity`, `records`.",
    ),
    "record.refused": _at(
        "ERROR", meaning="A record cannot be judged and is shown to an operator; `entity`, `key`."
    ),
    "repairs.stopped": _at("WARNING", meaning="A store is away: repairs wait for it; `reason`."),
    "facts.delayed": _at("WARNING", meaning="The audit store is away: facts wait in the core DB; `reason`."),
    "undo.lost": _at("WARNING", meaning="Another worker has taken an undo over; `undo_id`."),
    "changes.refused": _at(
        "ERROR", meaning="Changes could not be undone for an unexpected reason; `entity`."
    ),
    "sealing.skipped": _at("WARNING", meaning="Nothing is sealed, because no key to sign with is set."),
    "sealing.delayed": _at("WARNING", meaning="A store is away: sealing waits for it; `reason`."),
    "sealing.stopped": _at(
        "ERROR", meaning="The chain of seals is broken and nothing is sealed any more; `place`, `reason`."
    ),
    "sealing.unrecorded": _at(
        "ERROR", meaning="That the chain is broken could not be recorded as a fact; `place`."
    ),
    "audit.verified": _at(
        "INFO",
        meaning="Every sealed audit entry is what was sealed; how many `entries`, `seals` and `archives` were read, and the "
        "`seconds` that it took.",
    ),
    "verification.failed": _at(
        "ERROR",
        meaning="The audit is not what was sealed; `place` and `reason` of the first fault, and how many `faults` there are.",
    ),
    "verification.delayed": _at(
        "WARNING",
        meaning="A store is away: the audit is not verified before the next time; `reason`.",
    ),
    "verification.skipped": _at(
        "WARNING",
        meaning="The audit is not verified, because no key is set that its seals could be judged by.",
    ),
    "audit.archived": _at(
        "INFO",
        meaning="Audit entries have moved to an archive; `archive`, its `file`, `entries` and `bytes`.",
    ),
    "audit.filled": _at(
        "WARNING",
        meaning="The audit store holds 80 % of its memory budget or more; `megabytes` of `budget_megabytes`.",
    ),
    "archiving.skipped": _at(
        "WARNING",
        meaning="Nothing is archived, because a setting that it needs is missing; `reason` names it.",
    ),
    "archiving.delayed": _at(
        "WARNING", meaning="A store or a file is away: archiving waits for it; `reason`."
    ),
    "archiving.stopped": _at(
        "ERROR",
        meaning="What is due to be archived is not what was sealed, and nothing is archived any more; `place`, `reason`.",
    ),
    "archiving.unrecorded": _at(
        "ERROR", meaning="That archiving has stopped could not be recorded as a fact; `place`."
    ),
    "results.kept": _at(
        "WARNING", meaning="Results past their time could not be deleted now; `kind`, `fault`."
    ),
    "entries.dropped": _at(
        "ERROR",
        meaning="There was no room for log entries, neither on this process's disk nor in its memory; `dropped` of them "
        "so far.",
    ),
    "shipping.delayed": _at(
        "WARNING", meaning="The log store is away: entries wait on the disk of this process; `error`."
    ),
    "segments.kept": _at(
        "WARNING",
        meaning="The log store does not say whether it has entries on its own disk: they stay on this process's; "
        "`error`.",
    ),
    "shipping.resumed": _at("INFO", meaning="The log store takes entries again."),
    "logs.trimmed": _at(
        "INFO",
        meaning="The oldest log entries were given up, for their age or for want of memory; `entries`.",
    ),
    "logs.kept": _at("WARNING", meaning="Old log entries could not be given up now; `reason`."),
}

"""Reconciliation over HTTP: each call is checked, made on one function of `app`, announced where work follows."""

from web.reconciliation.diffs import Diffs
from web.reconciliation.holds import Holds
from web.reconciliation.jobs import Jobs
from web.reconciliation.records import Records
from web.reconciliation.runs import Runs
from web.reconciliation.undos import Undos

CONTROLLERS = (Jobs, Runs, Diffs, Holds, Undos, Records)

__all__ = ["CONTROLLERS"]

"""Judges the audit store from outside: reads Redis and the core DB itself and computes everything again.

Nothing here is shared with `app.audit.sealing` or with what appends, so that a fault of theirs is not repeated here.
`docs/audit.md` is all that it builds on.
"""

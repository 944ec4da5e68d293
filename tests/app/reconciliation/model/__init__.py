"""A model of the stores, with a clock of its own: one seed replays a whole schedule of writes, crashes and repairs.

`Turns` lets exactly one step of one actor happen at a time. `ModelSide`, `ModelAudit` and `ModelWork` stand in for the
ports of the repair path; tests/app/reconciliation/model/test_ports.py holds them and the real ones against the same rules.
"""

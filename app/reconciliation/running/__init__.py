"""What a run does: compare, look at invariants, nominate; and what else nominates."""

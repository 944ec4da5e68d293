"""What the core DB keeps of reconciliation: jobs, runs, suspects, diffs, holds, breakers."""

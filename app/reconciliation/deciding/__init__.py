"""What operators ask and decide: a record's story, approvals, undos."""

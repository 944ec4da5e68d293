"""What schedules of mail are for: queries by name, each of which tells who is to get what on a tick."""

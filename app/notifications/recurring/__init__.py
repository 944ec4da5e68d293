"""Mail that goes by itself: schedules, whom their queries find, and what a tick brings about."""

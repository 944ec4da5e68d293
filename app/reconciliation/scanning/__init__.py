"""The reading and comparing half of a full run: both sides in columns, at once, in bounded memory."""

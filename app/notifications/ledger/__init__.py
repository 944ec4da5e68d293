"""The rows of notifications: their states, what moves them, and what is told and kept of them."""

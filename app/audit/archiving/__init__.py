"""Retention of the audit store: its oldest seals move to compressed files, stay readable, and only then leave Redis.

`app.audit.verification` reads these files by code of its own.
"""

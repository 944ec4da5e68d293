"""Seals over the entries of the audit store: who makes them, and how one entry is proven by them.

`app.audit.verification` judges what is made here and shares no code with it.
"""

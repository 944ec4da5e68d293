"""Logs over HTTP: read, followed and exported by operators, shipped by API consumers."""

from web.logs.reading import Logs
from web.logs.shipping import ClientLogs

CONTROLLERS = (Logs, ClientLogs)

__all__ = ["CONTROLLERS"]

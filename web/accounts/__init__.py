"""Accounts over HTTP: services let users sign in, users look after themselves, admins after everybody."""

from web.accounts.auth import Auth
from web.accounts.clients import Clients
from web.accounts.me import Me
from web.accounts.users import Users

CONTROLLERS = (Auth, Me, Users, Clients)

__all__ = ["CONTROLLERS"]

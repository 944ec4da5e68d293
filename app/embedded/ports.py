"""Free loopback ports."""

import random
import socket
from collections.abc import Container
from pathlib import Path

from app.embedded.errors import EmbeddedError

LOWEST_PORT = 20_000
ATTEMPTS = 200
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_DEFAULT = 32_768


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        # As servers do it: connections of an earlier run that are still closing do not stand in the way.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError:
            return False
    return True


def free_port(taken: Container[int] = ()) -> int:
    """A free port below those that the kernel gives to outgoing connections.

    A port among those could be lost while its server restarts: to any client, or to one that retries to
    connect to it and meets itself.
    """
    for _attempt in range(ATTEMPTS):
        port = random.randrange(LOWEST_PORT, max(_first_ephemeral(), LOWEST_PORT + 2_000))  # noqa: S311  (no secret)
        if port not in taken and is_free(port):
            return port
    raise EmbeddedError(f"no free port was found in {ATTEMPTS} attempts")


def _first_ephemeral() -> int:
    try:
        return int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_DEFAULT

import socket
from pathlib import Path

from app.embedded.ports import LOWEST_PORT, free_port, is_free


def test_port_that_someone_listens_on_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_port_with_a_connection_that_is_still_closing_is_free():
    # Given a connection that the server closed first, and so waits in TIME_WAIT
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as client:
            listener.accept()[0].close()
            client.recv(1)
    assert is_free(address[1])


def test_free_port_lies_below_those_of_outgoing_connections():
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert LOWEST_PORT <= free_port() < max(first, LOWEST_PORT + 2_000)


def test_taken_ports_are_not_given(monkeypatch):
    ports = iter([LOWEST_PORT + 1, LOWEST_PORT + 2])
    monkeypatch.setattr("app.embedded.ports.random.randrange", lambda *_: next(ports))
    monkeypatch.setattr("app.embedded.ports.is_free", lambda _port: True)
    assert free_port({LOWEST_PORT + 1}) == LOWEST_PORT + 2

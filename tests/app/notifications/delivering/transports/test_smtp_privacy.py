"""What is said to a mail server is said to that one alone: TLS and signing in."""

import re
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme

from app.notifications.delivering.transports.transport import Accepted, Retry
from tests.app.notifications.delivering.transports.mail_servers import knows, running
from tests.app.notifications.delivering.transports.test_smtp import hand_over

COMPOSE = Path(__file__).parents[5] / "docker-compose.yml"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> str:
    """A file with the certificate that is trusted."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return str(tmp_path / "authority.pem")


def certified(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_mail_goes_over_tls_that_both_begin(authority: trustme.CA, trusted: str):
    async with running(tls_context=certified(authority), require_starttls=True) as server:
        handed = await hand_over(server, smtp_tls="starttls", smtp_ca_file=trusted)
    assert isinstance(handed, Accepted)
    assert len(server.taken) == 1


async def test_mail_goes_over_tls_from_the_first_byte(authority: trustme.CA, trusted: str):
    async with running(implicit=certified(authority)) as server:
        handed = await hand_over(server, smtp_tls="implicit", smtp_ca_file=trusted)
    assert isinstance(handed, Accepted)
    assert len(server.taken) == 1


async def test_a_server_without_tls_is_told_nothing(trusted: str):
    async with running() as server:
        handed = await hand_over(server, smtp_tls="starttls", smtp_ca_file=trusted)
    assert isinstance(handed, Retry)
    assert (handed.code, handed.of_service) == ("connection", True)
    assert "STARTTLS" in handed.detail
    assert server.said == []


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize("fault", ["of another authority", "for another name"])
async def test_a_server_that_is_not_who_it_says_is_told_nothing(
    authority: trustme.CA, trusted: str, mode: str, fault: str
):
    context = (
        certified(trustme.CA()) if fault == "of another authority" else certified(authority, "mail.other")
    )
    options = {"tls_context": context} if mode == "starttls" else {"implicit": context}
    async with running(**options) as server:
        handed = await hand_over(server, smtp_tls=mode, smtp_ca_file=trusted)
    assert isinstance(handed, Retry)
    assert "certificate verify failed" in handed.detail
    assert server.said == []


async def test_who_has_a_user_and_a_password_signs_in(authority: trustme.CA, trusted: str):
    known = {
        "auth_required": True,
        "authenticator": knows("right-password"),
        "tls_context": certified(authority),
    }
    ours = {"smtp_tls": "starttls", "smtp_ca_file": trusted, "smtp_user": "core"}
    async with running(**known) as server:
        handed = await hand_over(server, smtp_password="right-password", **ours)
        assert isinstance(handed, Accepted)
        wrong = await hand_over(server, smtp_password="wrong-password", **ours)
        nobody = await hand_over(server, smtp_tls="starttls", smtp_ca_file=trusted)
    assert len(server.taken) == 1
    # Neither is a fault of the mail.
    assert isinstance(wrong, Retry)
    assert isinstance(nobody, Retry)
    assert (wrong.code, wrong.of_service, nobody.code, nobody.of_service) == ("535", True, "530", True)
    assert "wrong-password" not in wrong.detail


@pytest.fixture
def self_signed(tmp_path: Path) -> Path:
    """A folder with a key and its certificate, made as docker-compose.yml makes them for its mail server."""
    made = re.search(r"\|\| (openssl req .*?-out cert\.pem)$", COMPOSE.read_text(), re.DOTALL | re.MULTILINE)
    assert made
    command = made[1].replace("mailpit", "localhost").replace("/etc/mail-key/", "").split()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


async def test_a_certificate_that_signs_itself_may_be_trusted(self_signed: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed / "cert.pem", self_signed / "key.pem")
    async with running(tls_context=context) as server:
        handed = await hand_over(server, smtp_tls="starttls", smtp_ca_file=str(self_signed / "cert.pem"))
    assert isinstance(handed, Accepted)

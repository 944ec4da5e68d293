"""`astrocore audit verify|prove|check-proof|seals|public-key`, on real stores."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from app.audit import verdicts
from app.audit.entries import FactEntry, decode
from app.audit.verification.report import Progress
from app.cli.audit import describe
from config.settings import PREFIX, Settings, settings
from tests.app.audit.sealed import SealedStore, new_key, open_sealed, told, unguarded

T = TypeVar("T")
Work = Callable[[Callable[[SealedStore], Awaitable[T]]], T]


@pytest.fixture
def on_store(settings_of_test: Settings) -> Work:
    """Do something with the audit store that the commands read."""

    def run(work: Callable[[SealedStore], Awaitable[T]]) -> T:
        async def opened() -> T:
            async with open_sealed(settings_of_test) as store:
                return await work(store)

        return asyncio.run(opened())

    return run


@pytest.fixture(autouse=True)
def environment(settings_of_test: Settings, monkeypatch: pytest.MonkeyPatch, clean_environment) -> None:
    """What an auditor has: two URLs and the public keys."""
    chosen = unguarded(settings_of_test)
    for name in ("core_database_url", "audit_url"):
        monkeypatch.setenv(PREFIX + name.upper(), chosen.url(name))
    monkeypatch.setenv(f"{PREFIX}NAMESPACE", chosen.namespace)
    monkeypatch.setenv(f"{PREFIX}AUDIT_PUBLIC_KEYS", chosen.audit_public_keys)
    settings.cache_clear()


def test_a_sound_store_verifies_and_says_what_is_not_sealed_yet(typed, on_store) -> None:
    on_store(_sealed)
    code, out, _ = typed("audit verify --json")
    report = json.loads(out)
    assert (code, report["ok"], report["sealed"], report["unsealed"]) == (0, True, 6, 2)
    code, out, _ = typed("audit verify")
    assert code == 0
    assert "every sealed entry is what was sealed" in out
    assert "2 entries" in out
    assert "does the sealer run?" in out, "the entries of the factory are old"


def test_a_fault_is_named_and_exits_1(typed, on_store) -> None:
    on_store(_sealed)
    on_store(lambda store: store.change(lambda entries: entries[3][1].update(told("edited"))))
    code, out, _ = typed("audit verify")
    assert code == 1
    assert "edited: entry 4 (seal 2): it is not what was sealed" in out
    code, out, _ = typed("audit verify --json")
    assert code == 1
    assert [each["entry"] for each in json.loads(out)["findings"]] == [4]


def test_operators_hear_of_a_fault_that_somebody_finds_by_hand(typed, on_store) -> None:
    on_store(_sealed)
    typed("audit verify")
    assert on_store(_verdicts) == {}, "of no fault nobody needs to hear"
    on_store(lambda store: store.change(lambda entries: entries[3][1].update(told("edited"))))
    typed("audit verify")
    assert on_store(_verdicts)["verifier"].place == "entry 4"


async def _verdicts(store: SealedStore) -> dict[str, verdicts.Verdict]:
    return await verdicts.read_verdicts(store.stores.core)


def test_who_may_only_read_gets_the_same_verdict(typed, on_store, monkeypatch) -> None:
    on_store(_sealed)
    on_store(lambda store: store.change(lambda entries: entries[3][1].update(told("edited"))))
    told_to_all = typed("audit verify --json")
    url = settings().url("core_database_url")
    monkeypatch.setenv(f"{PREFIX}CORE_DATABASE_URL", f"{url}?default_transaction_read_only=on")
    settings.cache_clear()
    code, out, err = typed("audit verify --json")
    assert (code, err) == (1, "")
    assert json.loads(out)["findings"] == json.loads(told_to_all[1])["findings"]


@pytest.mark.parametrize("name", ["AUDIT_URL", "CORE_DATABASE_URL"])
def test_a_store_that_cannot_be_read_exits_3(typed, monkeypatch, name: str) -> None:
    scheme = "redis" if name == "AUDIT_URL" else "postgresql"
    monkeypatch.setenv(f"{PREFIX}{name}", f"{scheme}://127.0.0.1:1/0")
    settings.cache_clear()
    code, _, err = typed("audit verify")
    assert code == 3
    assert "cannot be read" in err
    monkeypatch.delenv(f"{PREFIX}{name}")
    settings.cache_clear()
    assert typed("audit verify")[0] == 3


@pytest.mark.parametrize(
    "line",
    [
        "audit verify --public-key nonsense",
        "audit verify --known-seal 3",
        "audit prove x",
        "audit check-proof no",
    ],
)
def test_what_is_asked_wrongly_exits_2(typed, line: str) -> None:
    code, out, err = typed(line)
    assert (code, out) == (2, "")
    assert "hint" in err


def test_without_a_public_key_there_is_no_verdict(typed, monkeypatch) -> None:
    monkeypatch.delenv(f"{PREFIX}AUDIT_PUBLIC_KEYS")
    settings.cache_clear()
    code, _, err = typed("audit verify")
    assert code == 2
    assert "no public key is given" in err


def test_settings_that_cannot_be_read_are_no_fault_of_the_store(typed, monkeypatch) -> None:
    monkeypatch.setenv(f"{PREFIX}AUDIT_PUBLIC_KEYS", "nonsense")
    settings.cache_clear()
    assert typed("audit verify")[0] == 2


def test_keys_are_those_given_and_no_others(typed, on_store) -> None:
    on_store(_sealed)
    Path("key").write_text(new_key())
    code, out, _ = typed("audit verify --public-key key --json")
    assert code == 1
    assert json.loads(out)["findings"][0]["wrong"] == "seal untrusted"


def test_a_seal_that_was_noted_must_still_be_there(typed, on_store) -> None:
    on_store(_sealed)
    noted = json.loads(typed("audit verify --json")[1])["last_seal"]
    assert typed(f"audit verify --known-seal {noted}")[0] == 0
    assert typed(f"audit verify --known-seal {noted[:-1]}x")[0] == 1
    assert typed(f"audit verify --known-seal 9:{noted[2:]}")[0] == 1


def test_an_entry_is_proven_offline(typed, on_store, monkeypatch) -> None:
    on_store(_sealed)
    code, out, _ = typed("audit prove 5 --json")
    assert (code, json.loads(out)) == (0, {"file": "audit-proof-5.json", "entries": [5]})
    key = settings().public_keys[0]
    for name in ("AUDIT_URL", "CORE_DATABASE_URL", "AUDIT_PUBLIC_KEYS"):
        monkeypatch.delenv(f"{PREFIX}{name}")
    settings.cache_clear()

    code, out, _ = typed(f"audit check-proof audit-proof-5.json --public-key {key} --json")
    (proven,) = json.loads(out)
    assert (code, proven["sequence"], proven["seal"]) == (0, 5, 2)
    assert proven["entry"]["target"] == "job 1"
    assert typed(f"audit check-proof audit-proof-5.json --public-key {new_key()}")[0] == 1
    code, out, _ = typed(f"audit check-proof audit-proof-5.json --public-key {key}")
    assert (code, "the proof holds" in out) == (0, True)


def test_an_entry_is_proven_by_its_id(typed, on_store) -> None:
    on_store(_sealed)

    async def id_of_fifth(store: SealedStore) -> str:
        entry = decode((await store.entries())[4][1]["entry"])
        assert isinstance(entry, FactEntry)
        return str(entry.id)

    wanted = on_store(id_of_fifth)
    code, out, _ = typed(f"audit prove {wanted} -o proof.json --json")
    assert (code, json.loads(out)) == (0, {"file": "proof.json", "entries": [5]})
    assert typed("audit check-proof proof.json")[0] == 0
    code, _, err = typed(f"audit prove {wanted} -o proof.json")
    assert (code, "cannot be written" in err) == (1, True)


@pytest.mark.parametrize(
    "change",
    [
        ('\\"target\\":\\"job 1\\"', '\\"target\\":\\"job 9\\"'),
        ('"sequence": 5', '"sequence": 4'),
        ('"sequence": 5', '"sequence": 99'),
        ('"path": [', '"path": ["00", '),
        ("\\nlast 6", "\\nlast 5"),
        ("astrocore-audit-proof/1", "astrocore-audit-proof/2"),
        ('"proofs"', '"others"'),
    ],
)
def test_a_proof_that_was_changed_does_not_hold(typed, on_store, change: tuple[str, str]) -> None:
    on_store(_sealed)
    typed("audit prove 5 -o proof.json")
    held = Path("proof.json").read_text()
    assert change[0] in held
    Path("proof.json").write_text(held.replace(*change))
    code, out, err = typed("audit check-proof proof.json")
    assert (code, out) == (1, "")
    assert "proof" in err


def test_a_proof_of_an_entry_that_its_seal_does_not_cover(typed, on_store) -> None:
    on_store(_sealed)
    typed("audit prove 5 -o proof.json")
    Path("proof.json").write_text(Path("proof.json").read_text().replace('"sequence": 5', '"sequence": 3'))
    code, _, err = typed("audit check-proof proof.json")
    assert (code, "entry 3: its seal covers entries 4 to 6" in err) == (1, True)


def test_what_is_not_sealed_or_not_there_or_not_right_is_not_proven(typed, on_store) -> None:
    on_store(_sealed)
    for wanted, why in (("8", "not sealed yet"), ("99", "no entry 99"), ("0", "no entry 0")):
        code, _, err = typed(f"audit prove {wanted}")
        assert (code, why in err) == (1, True), err
    on_store(lambda store: store.change(lambda entries: entries[3][1].update(told("edited"))))
    code, _, err = typed("audit prove 5")
    assert (code, "not what was sealed" in err) == (1, True)
    assert not list(Path().glob("audit-proof*"))


def test_seals_are_listed_the_latest_first_page_by_page(typed, on_store) -> None:
    on_store(_sealed)
    code, out, _ = typed("audit seals")
    assert code == 0
    assert out.index("4-6") < out.index("1-3")
    first = json.loads(typed("audit seals --limit 1 --json")[1])
    second = json.loads(typed(f"audit seals --limit 1 --cursor {first['next_cursor']} --json")[1])
    assert [first["items"][0]["number"], second["items"][0]["number"]] == [2, 1]
    assert second["next_cursor"] is None


def test_the_public_key_of_the_signing_key_is_told(typed, settings_of_test, monkeypatch) -> None:
    assert typed("audit public-key")[0] == 1
    secret = settings_of_test.audit_signing_key
    assert secret is not None
    monkeypatch.setenv(f"{PREFIX}AUDIT_SIGNING_KEY", secret.get_secret_value())
    settings.cache_clear()
    code, out, _ = typed("audit public-key")
    assert (code, out.strip()) == (0, settings_of_test.audit_public_keys)
    assert "***" in typed("config")[1]
    assert secret.get_secret_value() not in typed("config --json")[1]


def test_progress_tells_how_far_how_fast_and_how_long_still() -> None:
    assert describe(Progress(50_000, 100_000, 2.0)) == "50,000 of 100,000 entries, 25,000/s, 2 s left"
    assert describe(Progress(0, 0, 0.0)) == "0 of 0 entries, 0/s"


async def _sealed(store: SealedStore) -> None:
    await store.seal(3)
    await store.seal(3)
    await store.append(2)

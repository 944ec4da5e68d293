"""Templates and their versions, against a real core DB."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.notifications.templates import catalogue, installing
from app.notifications.templates.content import Content, Kind
from app.notifications.templates.installing import Installed, ensure_shipped
from app.notifications.templates.shipped import Shipped
from app.stores.connections import Stores
from tests.app.accounts.conftest import facts
from tests.app.notifications.contents import content

NAME = "greeting"


def shipping(content: Content, *, kind: Kind = Kind.ALERT) -> Shipped:
    return Shipped(NAME, kind, "Says hello.", content)


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch, stores: Stores) -> Iterator[object]:
    """Brings one template along, as a release with this content would."""

    async def bring(given: Content, *, kind: Kind = Kind.ALERT) -> list[tuple[int, Installed]]:
        monkeypatch.setattr(installing, "shipped", lambda: {NAME: shipping(given, kind=kind)})
        return [(each.version, each.outcome) for each in await ensure_shipped(stores.settings)]

    return bring


@pytest.fixture
async def greeting(ship, stores: Stores) -> Stores:
    """The stores, with a template of one version."""
    await ship(content())
    return stores


async def current(stores: Stores) -> tuple[int, int]:
    """The current version, and the revision."""
    view = (await catalogue.get_template(stores, NAME)).template
    return view.current, view.revision


async def test_everything_that_is_shipped_is_there_after_a_migration(stores: Stores) -> None:
    made = await ensure_shipped(stores.settings)
    assert len(made) == 12
    assert [each.template for each in made] == [each.name for each in await catalogue.list_templates(stores)]
    assert await facts(stores, "notifications:") == ["template:ship"] * 12
    assert await ensure_shipped(stores.settings) == []
    rendered = await catalogue.preview(stores, "weekly-digest", locale="es-MX")
    assert (rendered.locale, rendered.subject) == ("es", "Su semana: 9 reservas, 21 plazas")


async def test_two_migrations_at_once_bring_it_along_once(ship, stores: Stores) -> None:
    made = await asyncio.gather(ship(content()), ship(content()))
    assert sorted(made) == [[], [(1, Installed.USED)]]


async def test_a_shipped_text_that_changes_is_used(ship, greeting: Stores) -> None:
    assert await ship(content()) == []
    assert await ship(content("Hi {{ name }}")) == [(2, Installed.USED)]
    assert await current(greeting) == (2, 2)
    assert "Hi Ada" in (await catalogue.preview(greeting, NAME)).text
    # A release that is taken back brings its own text again.
    assert await ship(content()) == [(3, Installed.USED)]


async def test_what_an_operator_has_written_is_kept_and_told(ship, greeting: Stores) -> None:
    await catalogue.add_version(greeting, NAME, content("Own {{ name }}"), by="ann", reason="tone")
    assert await ship(content("Hi {{ name }}")) == [(3, Installed.KEPT_OUT)]
    assert await ship(content("Hi {{ name }}")) == []
    assert "Own Ada" in (await catalogue.preview(greeting, NAME)).text
    # Whoever takes the shipped one again follows it from then on.
    await catalogue.choose_version(greeting, NAME, 3, by="ann", reason="theirs is better")
    assert await ship(content("Hey {{ name }}")) == [(4, Installed.USED)]


async def test_an_earlier_shipped_version_that_an_operator_chose_is_kept(ship, greeting: Stores) -> None:
    await ship(content("Hi {{ name }}"))
    await catalogue.choose_version(greeting, NAME, 1, by="ann", reason="the new one is wrong")
    assert await ship(content("Hey {{ name }}")) == [(3, Installed.KEPT_OUT)]
    assert (await current(greeting))[0] == 1


async def test_what_a_template_is_for_follows_the_release(ship, greeting: Stores) -> None:
    await ship(content(), kind=Kind.DIGEST)
    assert (await catalogue.load_version(greeting.core, NAME)).kind is Kind.DIGEST


async def test_versions_never_change_and_every_change_is_told(greeting: Stores) -> None:
    own = content("Own {{ name }}")
    detail = await catalogue.add_version(greeting, NAME, own, by="ann", reason="tone", revision=1)
    assert [(each.version, each.shipped, each.made_by) for each in detail.versions] == [
        (2, False, "ann"),
        (1, True, "migrate"),
    ]
    assert detail.content.locales == own.locales
    await catalogue.add_version(greeting, NAME, content("Later"), by="ann", reason="try", current=False)
    assert await current(greeting) == (2, 3)
    await catalogue.choose_version(greeting, NAME, 1, by="ann", reason="back", revision=3)
    assert (await catalogue.load_version(greeting.core, NAME)).content == content()
    assert (await catalogue.load_version(greeting.core, NAME, 2)).content == own
    await catalogue.enable_template(greeting, NAME, enabled=False, by="ann", reason="wrong price")
    assert await facts(greeting, "notifications:template:") == [
        "ship",
        "change",
        "change",
        "choose",
        "disable",
    ]
    told = await greeting.core.fetchval(
        "SELECT entry -> 'detail' FROM audit_outbox ORDER BY position OFFSET 3"
    )
    assert msgspec.json.decode(told) == {"before": 2, "after": 1}


async def test_the_switch_says_why(greeting: Stores) -> None:
    await catalogue.enable_template(greeting, NAME, enabled=False, by="ann", reason="wrong price")
    version = await catalogue.load_version(greeting.core, NAME)
    assert (version.enabled, version.disabled_because) == (False, "wrong price")
    with pytest.raises(ConflictError):
        await catalogue.enable_template(greeting, NAME, enabled=False, by="ann", reason="again")
    await catalogue.enable_template(greeting, NAME, enabled=True, by="ann", reason="mended")
    version = await catalogue.load_version(greeting.core, NAME)
    assert (version.enabled, version.disabled_because) == (True, None)


async def test_of_two_who_read_the_same_revision_one_is_told(greeting: Stores) -> None:
    calls = [
        catalogue.add_version(greeting, NAME, content(each), by="ann", reason="x", revision=1)
        for each in "ab"
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    (lost,) = [each for each in outcomes if isinstance(each, BaseException)]
    assert isinstance(lost, ConflictError)
    assert await current(greeting) == (2, 2)
    with pytest.raises(ConflictError, match="revision 2"):
        await catalogue.choose_version(greeting, NAME, 1, by="ann", reason="x", revision=1)


async def test_what_is_refused_changes_nothing(greeting: Stores) -> None:
    with pytest.raises(InvalidInputError) as error:
        await catalogue.add_version(greeting, NAME, content("{{ nobody }}"), by="ann", reason="x")
    assert [each.where for each in error.value.faults][:2] == ["locales/en/text", "locales/en/html"]
    with pytest.raises(ConflictError):
        await catalogue.choose_version(greeting, NAME, 1, by="ann", reason="x")
    with pytest.raises(InvalidInputError) as error:
        await catalogue.preview(greeting, NAME, data={})
    assert [each.where for each in error.value.faults] == ["data/name"]
    assert await current(greeting) == (1, 1)
    assert await facts(greeting, "notifications:template:") == ["ship"]


async def test_what_is_not_there_is_not_found(greeting: Stores) -> None:
    for call in (
        catalogue.get_template(greeting, "nothing"),
        catalogue.get_version(greeting, NAME, 7),
        catalogue.get_version(greeting, NAME, 10**30),
        catalogue.load_version(greeting.core, "nothing"),
        catalogue.load_version(greeting.core, NAME, 7),
        catalogue.choose_version(greeting, NAME, 7, by="ann", reason="x"),
        catalogue.add_version(greeting, "nothing", content(), by="ann", reason="x"),
        catalogue.enable_template(greeting, "nothing", enabled=False, by="ann", reason="x"),
        catalogue.preview(greeting, "nothing"),
    ):
        with pytest.raises(NotFoundError):
            await call

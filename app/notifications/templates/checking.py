"""Whether a version of a template can be sent: asked before it is kept, for there is nobody to ask afterwards."""

from collections.abc import Iterator

from app.errors import Fault
from app.locales import NO_LOCALE, is_locale
from app.notifications.templates.content import Content, Texts
from app.notifications.templates.fetching import NOTHING_FETCHED, fetching, fetching_in_source
from app.notifications.templates.rendering import FALLBACK, RenderingError, faults_in_part, render
from app.notifications.templates.schemas import faults_in_data, faults_in_schema, least_data

MOST_LOCALES = 20

_PARTS = ("subject", "text", "html")
_LEAST = "with the fields alone that the schema requires: "


def faults_in_content(content: Content) -> list[Fault]:
    """Everything that is wrong with it. What cannot be tried because of that is not tried."""
    faults = [*_faults_in_locales(content), *faults_in_schema(content.schema)]
    if not faults:
        faults += faults_in_data(content.schema, content.sample, where="sample")
    return faults or list(_faults_in_mails(content))


def _faults_in_locales(content: Content) -> Iterator[Fault]:
    if FALLBACK not in content.locales:
        yield Fault(f"locales/{FALLBACK}", "is missing; readers of every other language get it")
    if len(content.locales) > MOST_LOCALES:
        yield Fault("locales", f"are more than {MOST_LOCALES}")
        return
    for locale, texts in content.locales.items():
        if not is_locale(locale):
            yield Fault(f"locales/{locale}", NO_LOCALE)
        yield from _faults_in_texts(locale, texts)


def _faults_in_texts(locale: str, texts: Texts) -> Iterator[Fault]:
    for part in _PARTS:
        where = f"locales/{locale}/{part}"
        source = getattr(texts, part)
        if "\0" in source:
            yield Fault(where, "holds a character that cannot be stored")
        else:
            faults = faults_in_part(part, source, where=where)
            yield from faults
            if part == "html" and not faults:
                yield from (Fault(where, f"{NOTHING_FETCHED}: {each}") for each in fetching_in_source(source))


def _faults_in_mails(content: Content) -> Iterator[Fault]:
    for locale in content.locales:
        yield from _faults_in_mail(content, locale, content.sample, "")
        yield from _faults_in_mail(content, locale, least_data(content.schema, content.sample), _LEAST)


def _faults_in_mail(content: Content, locale: str, data: dict[str, object], said: str) -> Iterator[Fault]:
    try:
        rendered = render(content, data, locale=locale)
    except RenderingError as error:
        for fault in error.faults:
            yield Fault(f"locales/{locale}/{fault.where}", f"{said}{fault.message}")
        return
    if not rendered.subject:
        yield Fault(f"locales/{locale}/subject", f"{said}is empty")
    for each in fetching(rendered.html):
        yield Fault(f"locales/{locale}/html", f"{said}{NOTHING_FETCHED}: {each}")

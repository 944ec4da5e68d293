"""Languages as people have them."""

from app.locales import is_locale


def test_what_is_a_locale() -> None:
    assert all(map(is_locale, ["es", "es-MX", "zh-Hant", "en-150"]))
    assert not any(map(is_locale, ["", "es_MX", "xx", "español", "es-", "e", "es-MX-MX-MX-MX", "../en"]))

"""A finalizer runs in any thread and at any moment, and may log: nobody waits for it, nor it for others, for ever."""

import logging
from threading import Thread

from loguru import logger

from tests.config.conftest import SetUp


def test_a_library_that_logs_while_an_entry_is_written_waits_for_nobody(set_up: SetUp) -> None:
    set_up()
    library = logging.getLogger("library")
    another = Thread(target=library.warning, args=["from elsewhere"], daemon=True)

    def ship(_message: object) -> None:
        if another.ident is None:
            another.start()
            another.join(0.1)  # until it waits for this entry
            library.warning("from a finalizer")

    logger.add(ship, format="", catch=False)
    one = Thread(target=logger.info, args=["run.resumed"], daemon=True)
    one.start()
    one.join(10)
    another.join(10)
    assert [one.is_alive(), another.is_alive()] == [False, False]

"""A process that logs as ours do: ``python -m tests.faults.logging_process NUMBER RATE``.

It logs so many entries, at so many a second (0: as fast as it can), and says the number of each once it is logged.
"""

import sys
import time

from loguru import logger

from app.logs.shipping import shipping
from config.settings import settings


def main(number: int, rate: int) -> None:
    with shipping("worker", settings()):
        started = time.monotonic()
        for at in range(number):
            if rate:
                time.sleep(max(0.0, started + at / rate - time.monotonic()))
            logger.bind(at=at).info("thing.happened")
            sys.stdout.write(f"{at}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

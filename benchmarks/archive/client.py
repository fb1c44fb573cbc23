"""What `wsseg archive URL --scheduler ADDRESS` does, with a constant in the model's place; the others start it."""

from __future__ import annotations

import argparse
import logging
import time

from constant import NAME, ConstantHandler

from wsseg.archive.cluster import HandlerPlugin, connected
from wsseg.archive.listing import Listing
from wsseg.archive.run import LostError, Run
from wsseg.archive.web.client import Pacs
from wsseg.archive.work import Campaign, Work
from wsseg.labels.database.connection import Database


def main() -> None:
    """Run to the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("archive", "scheduler", "labels", "version"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float, default=0.0)
    asked = parser.parse_args()
    logging.getLogger("distributed").setLevel(logging.ERROR)
    database = Database(asked.labels)
    pacs = Pacs(asked.archive)
    work = Work(database, Campaign(asked.archive, NAME, asked.version, asked.archive))
    run = Run(work, Listing(work, pacs, {"Modality": "MR"}), (pacs,), False, lambda progress: None)
    plugin = HandlerPlugin(f"{NAME} {asked.version}", ConstantHandler(asked.archive, asked.version, asked.seconds))
    while True:
        try:
            with connected(asked.scheduler, None) as client:
                run.go(client, plugin)
            break
        except LostError:
            time.sleep(1.0)


if __name__ == "__main__":
    main()

"""The whole chaos, for as long as it takes: `python tests/chaos/run.py --seed 7 --folder DIR`.

Twenty Toyland concepts on a simulated cluster of three nodes, while a seeded killer ends a random worker, lane, node, the queue's
actor or the driver every 20 to 40 seconds, or puts a worker or a whole node out of reach for a while. Prints what it asserts; exit code 1 when a promise is broken. A job of the same folder
that was not disturbed is made first, and kept for the next seed.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

from chaos_killer import KINDS, Killer
from chaos_outcome import finished, repeated_epochs, same_rows, versions
from chaos_world import Driver, world

from unictokens.data.toyland.writer import write_dataset

SECONDS = 4 * 3600.0
STALL = 45
"""Seconds: less than the longer of the killer's pauses, more than anything takes that a lane of one core does."""


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concepts", type=int, default=20)
    parser.add_argument("--data", type=Path, help="a dataset of so many concepts (Toyland, written into the folder)")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--every", type=float, nargs=2, default=(20.0, 40.0), metavar=("S", "S"))
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--backbone", default="mini")
    parser.add_argument("--set", nargs="+", default=[])
    asked = parser.parse_args()
    data = asked.data or asked.folder / "data"
    if not data.exists():
        write_dataset(data, concepts=asked.concepts)
    options = ["--data", str(data), "--concepts", "all", "--pack", "1", "--tracking-uri", "off", "--config", "demo"]
    options += ["--stall", str(STALL), "--backbone", asked.backbone, "--set", "preview.every=0", *asked.set]
    reference, out = asked.folder / "undisturbed", asked.folder / f"seed-{asked.seed}"
    with world(asked.nodes) as cluster:
        if not (reference / "summary.json").exists():
            Driver(cluster, reference, options).wait(SECONDS)
        began = time.monotonic()
        driver = Driver(cluster, out, options)
        killer = Killer(cluster, driver, random.Random(asked.seed), asked.kinds)
        code = killer.rage(tuple(asked.every), SECONDS)
        seconds = time.monotonic() - began
        leftovers = cluster.leftovers(60.0)
    repeated = repeated_epochs(out)
    equal = same_rows(reference, out)
    promises = {
        "the driver ended in peace": code == 0,
        "every concept is finished": set(finished(out).values()) == {"finished"},
        "every concept is published once": set(versions(out).values()) == {1} and len(versions(out)) == asked.concepts,
        "no more than one epoch of any run was finished twice": max(repeated.values()) <= 1,
        "the bytes are those of the undisturbed job": all(equal.values()) and len(equal) == asked.concepts,
        "all resources were given back": not leftovers,
    }
    killed = {kind: killer.done.count(kind) for kind in asked.kinds}
    print(json.dumps({"seed": asked.seed, "seconds": round(seconds), "ended": killed, "repeated": repeated}, indent=1))
    for promise, kept in promises.items():
        print(f"{'kept  ' if kept else 'BROKEN'} {promise}")
    return 0 if all(promises.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

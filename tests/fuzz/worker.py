"""One way in, from one input on: a process of its own, whose end is what :mod:`run` makes an outcome of."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import psutil

TESTS = Path(__file__).parents[1]
sys.path[:0] = map(str, (TESTS, TESTS / "helpers", TESTS / "e2e"))

from formats import FORMATS  # noqa: E402  (found once the path is set)
from mutants import damages, original, write  # noqa: E402
from ways import OPENED, Look, TooLongError  # noqa: E402

SECONDS = 10
RESERVE_GB, MOST_GB = 4, 2


def try_from(way: str, first: int, count: int) -> None:
    """Print format and outcome of each input from the first on, so many of each format; runs in its own process."""
    with tempfile.TemporaryDirectory() as folder, OPENED[way](Path(folder)) as look:
        copies = Path(folder) / "copies"
        copies.mkdir()
        used = _peak_kb()
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (RESERVE_GB << 30),) * 2)
        for seed, ending in list(enumerate(FORMATS))[first // count :]:
            sound = original(ending, Path(folder))
            expected = look(sound.path)
            assert expected is not None, f"{ending}: the sound scan is refused"
            for number, damage in enumerate(damages(sound, seed, count), seed * count):
                if number >= first:
                    outcome = _outcome(look, write(sound, damage, copies), expected, damage.header)
                    grown = _peak_kb() - used
                    print(ending, "over 2 GB" if grown > MOST_GB << 20 else outcome, sep="\t", flush=True)
                    if outcome == "exception":
                        print(f"{way}, {ending}, input {number}", file=sys.stderr)
                    if grown > MOST_GB << 20:
                        return  # what it has taken would count again


def _peak_kb() -> int:
    """The most memory that this process and the server that it may have started had at any time, in KiB."""
    me = psutil.Process()
    status = [Path(f"/proc/{process.pid}/status").read_text("utf-8") for process in (me, *me.children(recursive=True))]
    return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in status)


def _outcome(look: Look, path: Path, expected: bytes, header: bool) -> str:
    warnings.simplefilter("error", RuntimeWarning)  # numpy's: a number was made of what is none
    signal.alarm(SECONDS)  # ends this process, whatever native code it is in, unless the way has a handler
    try:
        found = look(path)
    except TooLongError:
        return "over 10 s"
    except Exception:
        traceback.print_exc()
        return "exception"
    finally:
        signal.alarm(0)
    if found is None:
        return "refused"
    return "equal" if found == expected else f"different, {'header' if header else 'voxels'} hit"


if __name__ == "__main__":
    try_from(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

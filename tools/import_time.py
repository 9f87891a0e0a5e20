"""Source folders of two versions -> the time of `import adm` and of `adm --help` in each.

    python tools/import_time.py base/src src

They take turns, and their medians are compared; the status is 1 if the second one is slower by more
than half and by more than a twentieth of a second.
"""

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {
    "import adm": ["-c", "import adm"],
    "adm --help": ["-m", "adm", "--help"],
}


def seconds(source: str, command: list[str]) -> float:
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": source}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    return time.perf_counter() - started


def main(before: str, after: str) -> int:
    slower = False
    for name, command in COMMANDS.items():
        taken: dict[str, list[float]] = {before: [], after: []}
        for _ in range(ROUNDS):
            for source, times in taken.items():
                times.append(seconds(source, command))
        old, new = (statistics.median(times) for times in taken.values())
        print(f"{name}: {old:.3f} s before, {new:.3f} s after")
        slower |= new > 1.5 * old and new > old + 0.05
    return int(slower)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

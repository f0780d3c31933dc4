"""`python -m dujiang.emulator`: the emulator without the rest of the command line."""

import argparse
import sys
from pathlib import Path

from dujiang.emulator.behaviour import BadBehaviour
from dujiang.emulator.script import BadScript
from dujiang.emulator.server import run


def _announce(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dujiang.emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free port")
    parser.add_argument("--script", type=Path, help="YAML or JSON: model -> behaviour")
    options = parser.parse_args()
    try:
        run(options.host, options.port, options.script, _announce)
    except (BadBehaviour, BadScript, OSError) as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()

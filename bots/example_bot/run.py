"""A bot that takes command-line parameters: it looks at a list of numbers and reports what it found."""

import argparse
import os
import statistics
import sys


def main() -> int:
    """Work through the numbers of PARAM_NUMBERS (a JSON-like list or words), or a list of its own."""
    parser = argparse.ArgumentParser(description="An example bot")
    parser.add_argument("--mode", choices=["production", "rehearsal"], default="rehearsal")
    parser.add_argument("--verbose", action="store_true", help="say what is being done")
    arguments = parser.parse_args()

    words = os.environ.get("PARAM_NUMBERS", "3 1 4 1 5 9 2 6").replace(",", " ").strip("[] ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        print(f"PARAM_NUMBERS must be numbers: {error}", file=sys.stderr)
        return 2
    if arguments.verbose:
        print(f"Bot {os.environ.get('PROGRAM_ID')} in {arguments.mode} mode, {len(numbers)} numbers")
    print(f"mean {statistics.fmean(numbers):g}, median {statistics.median(numbers):g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The smallest useful program: it reads its ids and one parameter, and ends well."""

import os
import sys


def main() -> int:
    """Greet whoever PARAM_NAME names; 0 is success."""
    name = os.environ.get("PARAM_NAME", "world")
    print("Hello from PyExecutorHub!")
    print(f"Program ID: {os.environ.get('PROGRAM_ID')}")
    print(f"Execution ID: {os.environ.get('EXECUTION_ID')}")
    print(f"Hello, {name}!")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Shows what a program sees inside its container: ids, environment, Python version and parameters."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

LINE = "=" * 50


def main() -> None:
    """Print it, in the lines that people grep for."""
    print(LINE)
    print("🚀 PyExecutorHub Test Script")
    print(LINE)
    print(f"⏰ Execution Time: {datetime.now(UTC):%Y-%m-%d %H:%M:%S}")
    print(f"📋 Program ID: {os.environ.get('PROGRAM_ID', 'unknown')}")
    print(f"🆔 Execution ID: {os.environ.get('EXECUTION_ID', 'unknown')}")
    print(f"👋 Hola mundo {os.environ.get('MY_NAME', 'World')}!")
    print(LINE)
    in_container = Path("/.dockerenv").exists()
    print("🐳 Running inside Docker container" if in_container else "💻 Running on host system")
    print(f"🐍 Python version: {platform.python_version()}")
    parameters = sorted((name, value) for name, value in os.environ.items() if name.startswith("PARAM_"))
    for name, value in parameters:
        print(f"📝 Parameter {name}: {value}")
    if not parameters:
        print("📝 No custom parameters provided")
    print(LINE)
    print("✅ Test script completed successfully!")
    print(LINE)


if __name__ == "__main__":
    main()

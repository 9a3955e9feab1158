"""The clock of one process, set while it runs. Needs Debian's libfaketime, which tools/test.sh installs."""

import glob
from pathlib import Path

_LIBRARY = "/usr/lib/*/faketime/libfaketime.so.1"


class SetClock:
    """Its environment makes a process read the wall clock with an offset; what counts seconds goes on as it does."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set_hours(0)
        found = glob.glob(_LIBRARY)
        assert found, f"there is no {_LIBRARY}: apt-get install libfaketime"
        self.environment = {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_hours(self, hours: int) -> None:
        """From now on it shows so many hours more than is true."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{hours:+d}h\n", encoding="ascii")
        fresh.replace(self._file)

"""Commands of a documentation, run as they are typed, against a hub that listens somewhere else."""

import os
import subprocess
from pathlib import Path

from tests.support.hub_process import PASSWORD, USERNAME, HubProcess

#: Where every documented command finds the hub.
DOCUMENTED = "localhost:8001"


class Shell:
    """A terminal in which the documented address leads to this hub, and placeholders mean something."""

    def __init__(self, hub: HubProcess, folder: Path) -> None:
        # curl's own way to lead an address elsewhere: what is typed stays what it is.
        (folder / ".curlrc").write_text(
            f'connect-to = "{DOCUMENTED}:127.0.0.1:{hub.port}"\nsilent\nshow-error\n', encoding="utf-8"
        )
        self._environment = {**os.environ, "CURL_HOME": str(folder)}
        #: Placeholder → what a reader puts there.
        self.placeholders = {"YOUR_USERNAME": USERNAME, "YOUR_PASSWORD": PASSWORD}
        #: Variables that an earlier command has set.
        self.variables: dict[str, str] = {}

    def run(self, commands: str) -> str:
        """What the commands print. Each line must succeed, as far as a shell can tell."""
        for placeholder, value in self.placeholders.items():
            commands = commands.replace(placeholder, value)
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", commands],
            env=self._environment | self.variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

"""The catalogue of the moment: the last good config.yaml, read again whenever the file changes."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Self

import structlog
import watchfiles

from hub.config_file import ConfigFile, Stamp
from hub.errors import ConfigError
from schemas.catalogue import Catalogue

_log = structlog.get_logger()

#: Seconds between two looks at the file where no event comes: a network file system, or a folder behind a symbolic link.
POLL_SECONDS = 1.0
#: Seconds without a change after which a file counts as written; an editor may truncate it first.
_SETTLE_SECONDS = 0.05
#: Seconds after which a file that never settles is read all the same.
_SETTLE_LIMIT_SECONDS = 0.5


class Catalogues:
    """Holds the catalogue and replaces it whole. A broken edit changes nothing but :attr:`problem`."""

    def __init__(self, file: ConfigFile, *, content: bytes, catalogue: Catalogue, stamp: Stamp) -> None:
        """``catalogue`` is what ``content`` of the version ``stamp`` came to; :meth:`load` makes all three."""
        self._file = file
        self._current = catalogue
        #: What was judged last: the content, or why there was none.
        self._judged: bytes | str = content
        self._stamp = stamp
        self._problem: str | None = None
        self._reading = asyncio.Lock()
        self._change = asyncio.Event()

    @classmethod
    def load(cls, file: ConfigFile) -> Self:
        """Read config.yaml for the first time.

        Raises:
            ConfigError: it can't be read or is wrong; without a last good one there is nothing to go on with.
        """
        # The version first: a change between the two is then noticed as one.
        stamp = file.stamp()
        content = file.read()
        return cls(file, content=content, catalogue=file.parse(content), stamp=stamp)

    @property
    def current(self) -> Catalogue:
        """The last good catalogue. A new object after each reload that changed something."""
        return self._current

    @property
    def problem(self) -> str | None:
        """What is wrong with config.yaml as it stands now, with line and column; ``None`` where it is the current one."""
        return self._problem

    async def changed(self, since: Catalogue) -> Catalogue:
        """Wait until the current catalogue is another object than ``since``, and return it."""
        while self._current is since:
            await self._change.wait()
        return self._current

    async def reload(self) -> Catalogue:
        """Read config.yaml now, rather than when its change is noticed; the last good catalogue where it is broken."""
        async with self._reading:
            content: bytes | str
            try:
                content = await asyncio.to_thread(self._file.read)
            except ConfigError as error:
                content = str(error)
                if content != self._judged:
                    self._reject(error)
            else:
                # The content decides, not the time of a file: a flood of unknown programs parses nothing twice.
                if content != self._judged:
                    await self._judge(content)
            self._judged = content
        return self._current

    async def run(self) -> None:
        """Follow the file until cancelled; an edit is live within a second."""
        async with aclosing(self._hints()) as hints:
            async for _ in hints:
                stamp = await asyncio.to_thread(self._file.stamp)
                if stamp != self._stamp:
                    self._stamp = await self._settled(stamp)
                    await self.reload()

    async def _hints(self) -> AsyncGenerator[None, None]:
        """Whenever the file may have changed: at once where the system says so, and every second anyway."""
        name = self._file.path.name
        try:
            # The folder, because an editor replaces the file: a watch on the file itself would follow the old one.
            changes = watchfiles.awatch(
                self._file.path.parent,
                watch_filter=lambda _, changed: Path(changed).name == name,
                debounce=50,
                step=20,
                rust_timeout=int(POLL_SECONDS * 1000),
                yield_on_timeout=True,
                recursive=False,
            )
            async with aclosing(changes):
                async for _ in changes:
                    yield
        except (OSError, RuntimeError) as error:
            _log.warning("no file events, looking every second", action="config_polled", error=str(error))
        while True:
            await asyncio.sleep(POLL_SECONDS)
            yield

    async def _settled(self, stamp: Stamp) -> Stamp:
        deadline = time.monotonic() + _SETTLE_LIMIT_SECONDS
        while time.monotonic() < deadline:
            await asyncio.sleep(_SETTLE_SECONDS)
            later = await asyncio.to_thread(self._file.stamp)
            if later == stamp:
                break
            stamp = later
        return stamp

    async def _judge(self, content: bytes) -> None:
        try:
            catalogue = await asyncio.to_thread(self._file.parse, content)
        except ConfigError as error:
            self._reject(error)
            return
        self._problem = None
        before, after = self._current, catalogue
        if before == after:
            return
        self._current = after
        # Whoever waits now is woken; whoever comes later waits for the next change.
        change, self._change = self._change, asyncio.Event()
        change.set()
        old, new = {program.id: program for program in before}, {program.id: program for program in after}
        _log.info(
            "config.yaml reloaded",
            action="config_reloaded",
            added=sorted(new.keys() - old.keys()),
            removed=sorted(old.keys() - new.keys()),
            changed=sorted(key for key in new.keys() & old.keys() if new[key] != old[key]),
            settings_changed=before.settings != after.settings,
        )

    def _reject(self, error: ConfigError) -> None:
        self._problem = str(error)
        _log.error("config.yaml is broken: the last good one stays", action="config_rejected", problem=self._problem)

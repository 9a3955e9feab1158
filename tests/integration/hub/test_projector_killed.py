"""A projector that is killed in the middle of a batch."""

import asyncio
import random
import sys
from pathlib import Path

from bus.messages import Position, StreamName
from hub.fold import fold
from hub.log_entries import Cleaned, understand_all
from hub.view import View
from schemas.status import Status
from tests.integration.hub.projecting import EXECUTIONS, KEPT, the_log, the_output
from tests.support.records import numbered, uid

ROOT = Path(__file__).parents[3]


async def test_fault9_killed_at_random_it_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    """E9: after kill -9 at random moments the view equals a recount of the log."""
    path = tmp_path / "view.db"
    chance = random.Random(7)
    kills, part_way = 0, 0
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.hub.projecting", str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"projecting\n"
        try:
            # The last ones may finish.
            code = await asyncio.wait_for(process.wait(), chance.uniform(0.02, 0.15) if kills < 6 else 60)
        except TimeoutError:
            process.kill()
            await process.wait()
            kills += 1
            part_way += await _is_part_way(path)
            continue
        assert code == 0
        break

    assert part_way > 1
    log = numbered(*the_log())
    entries, _ = understand_all(log)
    folded = fold({}, [entry for entry in entries if not isinstance(entry, Cleaned)])
    view = View(path)
    await view.open()
    try:
        assert await view.position(StreamName.LOG) == log[-1].position
        stored = await view.transitions_after(None, 10 * EXECUTIONS)
        assert [transition.offset for transition in stored] == [transition.offset for transition in folded.transitions]

        recount: dict[Status, dict[str, int]] = {status: {} for status in Status}
        for row in folded.rows.values():
            recount[row.status][row.program_id] = recount[row.status].get(row.program_id, 0) + 1
        assert (await view.statistics()).by_status == recount

        newest = (await view.page(10 * EXECUTIONS)).rows
        finished = [execution for execution, _ in newest if execution.status.is_terminal]
        assert len(finished) == KEPT
        assert all(execution == folded.rows[execution.execution_id] for execution, _ in newest)
        chunks = {uid(number): b"%03d" % (number % 1000) for number in range(EXECUTIONS)}
        assert all(output.stdout == chunks[execution.execution_id] for execution, output in newest)
        assert all(output.complete for execution, output in newest if execution.status.is_terminal)
        assert await view.position(StreamName.OUTPUT) == numbered(*the_output())[-1].position
    finally:
        await view.close()


async def _is_part_way(path: Path) -> bool:
    view = View(path)
    await view.open()
    try:
        position: Position | None = await view.position(StreamName.LOG)
    finally:
        await view.close()
    return position is not None and position.offset < len(the_log()) - 1

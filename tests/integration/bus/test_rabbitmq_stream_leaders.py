"""A stream's leader dies while it is written to: another one takes over, and what was confirmed is there."""

import asyncio
from itertools import count

import pytest

from bus import topology
from bus.errors import BusError
from bus.messages import StreamName
from bus.ports import Bus
from tests.integration.bus.conftest import Buses
from tests.integration.bus.messages import command, read, report
from tests.support.broker import OwnBroker

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]

#: Messages of each kind that are on their way at a time.
AT_ONCE = 20
#: Times that the leader dies, and seconds between.
DEATHS, PAUSE_SECONDS = 3, 1.0


async def kill_leaders(broker: OwnBroker, buses: Buses, stream: str) -> None:
    """Kill the Erlang process that writes a stream, again and again; RabbitMQ elects another one each time."""
    vhost = buses.url.rpartition("/")[2]
    await asyncio.to_thread(
        broker.control,
        "eval",
        f"""[begin
            {{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{stream}">>)),
            exit(amqqueue:get_pid(Q), kill),
            timer:sleep({int(PAUSE_SECONDS * 1000)})
        end || _ <- lists:seq(1, {DEATHS})], ok.""",
    )


class Load:
    """Writes to several streams at the same time, and remembers what was confirmed."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._numbers = count()
        self.reported: list[str] = []
        self.written: list[str] = []
        self.accepted: list[str] = []

    async def report(self) -> None:
        """A report for the log."""
        name = f"report-{next(self._numbers)}"
        await self._bus.streams.append(StreamName.LOG, "execution.running.p", report(name))
        self.reported.append(name)

    async def write(self) -> None:
        """A piece of output."""
        name = f"output-{next(self._numbers)}"
        await self._bus.streams.append(StreamName.OUTPUT, "output.p", report(name))
        self.written.append(name)

    async def accept(self) -> None:
        """A command, which goes to the log too."""
        message = command()
        await self._bus.commands.accept("default", message)
        self.accepted.append(str(message.id))

    async def go_on(self, stop: asyncio.Event) -> None:
        """One of each after the other."""
        while not stop.is_set():
            for act in (self.write, self.report, self.accept):
                try:
                    await act()
                except BusError:
                    await asyncio.sleep(0.05)  # it was not confirmed


async def test_fault4_what_was_confirmed_is_in_the_stream_whose_leader_died_while_others_were_written_to(
    own_broker: OwnBroker, rabbits: Buses
) -> None:
    bus = await rabbits.open()
    load, stop = Load(bus), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(load.go_on(stop))
        await kill_leaders(own_broker, rabbits, topology.LOG)
        await kill_leaders(own_broker, rabbits, topology.OUTPUT)
        stop.set()

    confirmed = {StreamName.LOG: {*load.reported, *load.accepted}, StreamName.OUTPUT: set(load.written)}
    for stream, names in confirmed.items():
        end = await bus.streams.end(stream)
        assert end is not None
        records = await read(bus, end + 1, stream=stream)
        assert names - {record.message.id for record in records} == set()
        assert len(names) > 100

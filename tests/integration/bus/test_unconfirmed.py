"""A gateway on a real bus whose confirm is lost after the command was taken: what runs then, and how often."""

from bus.errors import BusUnavailable
from bus.messages import Claim, Decision, End, Message
from bus.ports import Bus, Commands, Delivery
from gateway.withdrawals import Withdrawals
from hub.fold import fold
from hub.log_entries import Asked, Skip, understand
from schemas.commands import digest_of, parse_execute
from tests.integration.bus.messages import read, take
from tests.support.gateway_fakes import FakeCatalogues, World, catalogue, client_of, program
from tests.support.wait import eventually

BODY = {"program_id": "p", "parameters": {"n": 1}}
KEY = {"Idempotency-Key": "order-17"}


class LosesConfirms:
    """Commands that arrive while the word that they did does not."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self.loses = True

    async def accept(self, pool: str, message: Message) -> None:
        await self._commands.accept(pool, message)
        if self.loses:
            raise BusUnavailable("the connection was lost before the confirm came", outcome_unknown=True)

    async def retry(self, pool: str, message: Message) -> None:
        raise NotImplementedError

    async def waiting(self, pool: str) -> int:
        return await self._commands.waiting(pool)

    def unsettled(self) -> int:
        return self._commands.unsettled()

    async def take(self, pool: str, free_slots: int) -> Delivery:
        return await self._commands.take(pool, free_slots)

    async def stop_taking(self) -> None:
        await self._commands.stop_taking()


def world() -> World:
    return World(catalogues=FakeCatalogues(catalogue(program("p"))))


async def claim_as_a_runner(bus: Bus, nonce: str) -> tuple[str, Decision]:
    """Take the next command and ask whose it is."""
    delivery = await take(bus)
    execution_id, command = parse_execute(delivery.message.id, delivery.message.body)
    claim = Claim(execution_id=execution_id, attempt=1, epoch="e", nonce=nonce, digest=digest_of(command))
    decision = await bus.decisions.decide(claim)
    await delivery.done()
    return execution_id, decision


async def test_without_a_key_what_was_not_confirmed_is_withdrawn_before_a_runner_comes(bus: Bus) -> None:
    commands = LosesConfirms(bus.commands)
    async with client_of(world().app(commands=commands, decisions=bus.decisions)) as client:
        response = await client.post("/execute", json=BODY)
        execution_id = (await response.json())["execution_id"]

        async def decided() -> Decision | None:
            return await bus.decisions.decision_for(execution_id, 1)

        withdrawn = await eventually(decided)

    assert response.status == 503
    assert withdrawn == End(execution_id=execution_id, reason="unconfirmed", requested_by="hub")
    assert await claim_as_a_runner(bus, "n") == (execution_id, withdrawn)


async def test_without_a_key_a_runner_that_came_first_goes_on(bus: Bus) -> None:
    commands = LosesConfirms(bus.commands)
    gateway = world()
    gateway.decisions.may_decide.clear()
    async with client_of(gateway.app(commands=commands, decisions=gateway.decisions)) as client:
        assert (await client.post("/execute", json=BODY)).status == 503
    execution_id, claimed = await claim_as_a_runner(bus, "n")

    late = await Withdrawals(bus.decisions).end(execution_id)

    assert isinstance(claimed, Claim)
    assert late == claimed


async def test_m9_with_a_key_the_retry_is_the_same_command_for_runners_and_for_the_log(bus: Bus) -> None:
    commands = LosesConfirms(bus.commands)
    async with client_of(world().app(commands=commands, decisions=bus.decisions)) as client:
        lost = await client.post("/execute", json=BODY, headers=KEY)
        lost_id = (await lost.json())["execution_id"]
        commands.loses = False
        again = await client.post("/execute", json=BODY, headers=KEY)
        execution_id = (await again.json())["execution_id"]

    assert (lost.status, again.status) == (503, 202)
    assert lost_id == execution_id
    first = await claim_as_a_runner(bus, "first")
    second = await claim_as_a_runner(bus, "second")
    # Both copies were taken; one claim has it.
    assert first == second
    assert isinstance(first[1], Claim)
    assert (first[0], first[1].nonce) == (execution_id, "first")
    entries = [understand(record) for record in await read(bus, 2)]
    folded = fold({}, [entry for entry in entries if isinstance(entry, Asked)])
    assert folded.skipped == {Skip.DUPLICATE: 1}
    assert folded.rows[execution_id].digest == first[1].digest

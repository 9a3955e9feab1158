"""The table of failpoints: at which of them who dies, in the middle of what. Each point of the source has a row."""

from dataclasses import dataclass

from tests.faults import failpoint_losses as losses
from tests.faults import failpoint_scenes as scenes
from tests.faults.failpoint_scenes import Death, Scene


@dataclass(frozen=True)
class Case:
    """One row."""

    #: The points at which one life after the other ends; each is a name, or ``name:N`` for its Nth passing.
    points: tuple[str, ...]
    scene: Scene
    #: ``runner`` or ``gateway``; on the embedded bus both are one process.
    victim: str
    bus: str = "rabbitmq"

    @property
    def death(self) -> Death:
        """Who dies, and where."""
        return Death(self.victim, self.points)

    @property
    def shown(self) -> frozenset[str]:
        """The names of its points."""
        return frozenset(point.partition(":")[0] for point in self.points)

    def __str__(self) -> str:
        return f"{'-'.join(self.points)}-{self.scene.__name__}{'' if self.bus == 'rabbitmq' else '-embedded'}"


def _runner(*points: str, scene: Scene = scenes.runs) -> Case:
    return Case(points, scene, "runner")


def _gateway(*points: str, scene: Scene = scenes.runs) -> Case:
    return Case(points, scene, "gateway")


def _both(*points: str, scene: Scene = scenes.runs) -> Case:
    return Case(points, scene, "runner", "embedded")


CASES = [
    # The runner takes a command.
    _runner("lease.written"),
    _runner("runner.took"),
    _runner("journal.claimed"),
    _runner("rabbitmq.proposed"),
    _runner("rabbitmq.decisions_kept"),
    _runner("runner.decided"),
    _runner("rabbitmq.consumer_cancelled"),
    _runner("runner.settled"),
    _runner("runner.settled", scene=scenes.is_malformed),
    _runner("rabbitmq.buried", scene=scenes.is_malformed),
    _runner("runner.settled", scene=scenes.is_cancelled_before_anybody_takes_it),
    _runner("journal.forgotten", scene=scenes.is_cancelled_before_anybody_takes_it),
    # It prepares a container.
    _runner("docker.pulled", scene=scenes.pulls),
    _runner("journal.noted", scene=scenes.pulls),
    _runner("docker.builder_created", scene=scenes.installs),
    _runner("docker.builder_filled", scene=scenes.installs),
    _runner("docker.pip_started", scene=scenes.installs),
    _runner("docker.pip_ended", scene=scenes.installs),
    _runner("docker.environment_kept", scene=scenes.installs),
    _runner("docker.builder_removed", scene=scenes.installs),
    _runner("docker.sandbox_created", scene=scenes.runs_without_a_network),
    _runner("docker.sandbox_started", scene=scenes.runs_without_a_network),
    _runner("docker.sandbox_removed", scene=scenes.runs_without_a_network),
    _runner("docker.bridge_created", scene=scenes.runs_in_a_kept_bridge),
    _runner("docker.bridge_started", scene=scenes.runs_in_a_kept_bridge),
    _runner("docker.bridge_removed", scene=scenes.runs_in_a_kept_bridge),
    _runner("docker.created"),
    _runner("docker.created", "docker.never_started_removed"),
    # It starts a program and sees it to its end.
    _runner("journal.starting"),
    _runner("docker.attached"),
    _runner("docker.started"),
    _runner("journal.started"),
    _runner("journal.wrote"),
    _runner("journal.wrote:4", scene=scenes.runs_slowly),
    _runner("journal.wrote:2", "docker.adopted", scene=scenes.runs_slowly),
    _runner("docker.started", "docker.adopted", "journal.ended"),
    _runner("docker.exited"),
    _runner("journal.ended"),
    _runner("docker.removed"),
    _runner("journal.forgotten"),
    # Each of the three steps of a program with actions.
    *(
        _runner(f"{point}:{nth}", scene=scenes.runs_with_actions)
        for point in ("journal.starting", "docker.ordered", "docker.started")
        for nth in (1, 2, 3)
    ),
    # It keeps containers warm, and hands one over.
    *(
        _runner(point, scene=scenes.runs_warm)
        for point in (
            "docker.warm_created",
            "docker.warm_started",
            "docker.renamed",
            "journal.starting",
            "docker.told",
            "docker.begun",
            "journal.started",
            "journal.wrote:3",
            "docker.warm_ended",
            "journal.ended",
            "docker.removed",
        )
    ),
    _runner("docker.begun", "docker.adopted", scene=scenes.runs_warm),
    _both("docker.renamed", scene=scenes.runs_warm),
    _both("docker.begun", scene=scenes.runs_warm),
    *(
        _runner(f"{point}:{nth}", scene=scenes.runs_warm_with_actions)
        for point in ("docker.told", "docker.begun", "docker.warm_ended")
        for nth in (1, 2, 3)
    ),
    # It tries again what failed.
    *(
        _runner(f"{point}:{nth}", scene=scenes.is_tried_again)
        for point in ("journal.claimed", "docker.started", "journal.ended")
        for nth in (1, 2)
    ),
    _runner("journal.told:2", scene=scenes.is_tried_again),
    # It stops a program.
    _runner("docker.signalled", scene=scenes.is_stopped_at_its_limit),
    _runner("docker.signalled:2", scene=scenes.is_stopped_at_its_limit),
    _runner("docker.signalled", scene=scenes.is_cancelled),
    # It tells.
    _runner("outbox.appended"),
    _runner("outbox.appended:3"),
    _runner("journal.told"),
    _runner("journal.told:2"),
    # It is asked to stop.
    _runner("runner.stopped_taking", scene=scenes.is_told_to_drain),
    _runner("runner.let_go", scene=scenes.is_told_to_drain),
    _runner("lease.left", scene=scenes.is_told_to_drain),
    # It comes back, and says hello.
    _runner("membership.entered"),
    _runner("journal.wrote:2", "membership.entered", "membership.entered", scene=scenes.runs_slowly),
    # It is given up while it is frozen, and starts over.
    _runner("membership.cleared", scene=losses.is_frozen_past_its_lease),
    _runner("journal.renewed", scene=losses.is_frozen_past_its_lease),
    _runner("membership.cleared", scene=losses.loses_an_attempt),
    _runner("journal.renewed", scene=losses.loses_an_attempt),
    _runner("membership.cleared", "membership.cleared", "journal.renewed", scene=losses.is_frozen_past_its_lease),
    _runner("docker.removed", "compose.container_removed", "membership.cleared", scene=losses.is_frozen_with_compose),
    _runner("compose.volume_removed", scene=losses.is_frozen_with_compose),
    # It sweeps: a container first, then a network, then a volume.
    *(_runner(f"sweeper.removed:{nth}", scene=losses.sweeps) for nth in (1, 2, 3)),
    # Compose programs.
    _runner("compose.built", scene=scenes.runs_with_compose),
    _runner("compose.created", scene=scenes.runs_with_compose),
    _runner("docker.started:2", scene=scenes.runs_with_compose),
    _runner("docker.removed", scene=scenes.runs_with_compose),
    _runner("compose.service_started", scene=scenes.runs_with_compose),
    _runner("compose.service_started:2", scene=scenes.runs_with_compose),
    _runner("compose.service_started", "compose.adopted", scene=scenes.runs_with_compose),
    _runner("docker.started", "compose.adopted", "compose.service_started", "journal.ended", scene=scenes.runs_with_compose),
    _runner("journal.ended", "compose.container_removed", scene=scenes.runs_with_compose),
    _runner("compose.network_removed", scene=scenes.runs_with_compose),
    _runner("compose.volume_removed", scene=scenes.runs_with_compose),
    # The gateway.
    _gateway("gateway.accepted"),
    _gateway("gateway.withdrawn", scene=scenes.is_not_confirmed),
    _gateway("rabbitmq.checkpoint_made", scene=scenes.is_the_first_of_all),
    _gateway("gateway.cancelled", scene=scenes.is_cancelled),
    _gateway("gateway.letter_redriven", scene=scenes.is_redriven),
    _gateway("gateway.accepted", scene=scenes.is_redriven),
    _gateway("gateway.letter_discarded", scene=scenes.is_discarded),
    _gateway("gateway.record_appended", scene=scenes.is_removed),
    _gateway("view.committing"),
    _gateway("view.committing:2"),
    _gateway("view.committed"),
    _gateway("view.committed:2"),
    _gateway("announcer.announced"),
    _gateway("announcer.announced:2"),
    _gateway("announcer.advanced"),
    _gateway("announcer.replied", scene=scenes.has_a_reply),
    _gateway("rabbitmq.checkpoint_published"),
    _gateway("rabbitmq.checkpoint_let_go"),
    _gateway("retrier.queued", scene=scenes.is_tried_again),
    _gateway("retrier.queued:2", scene=scenes.is_tried_again),
    _gateway("ender.appended", scene=scenes.is_cancelled_before_anybody_takes_it),
    _gateway("rabbitmq.proposed", scene=losses.loses_a_runner),
    _gateway("lost_runners.fenced", scene=losses.loses_a_runner),
    _gateway("lost_runners.appended", scene=losses.loses_a_runner),
    _gateway("lost_runners.fenced", "lost_runners.appended", scene=losses.loses_a_runner),
    _gateway("lost_runners.appended", scene=losses.loses_an_attempt),
    _gateway("lost_runners.appended", "retrier.queued", scene=losses.loses_an_attempt),
    _gateway("rabbitmq.proposed", scene=losses.expires),
    _gateway("lost_commands.proposed", scene=losses.expires),
    _gateway("ender.appended", scene=losses.expires),
    _gateway("snapshot.begun", scene=losses.says_its_tokens_again),
    _gateway("snapshot.part_written", scene=losses.says_its_tokens_again),
    _gateway("snapshot.part_written:2", scene=losses.says_its_tokens_again),
    _gateway("snapshot.place_written:2", scene=losses.says_its_tokens_again),
    _gateway("snapshot.place_kept:2", scene=losses.says_its_tokens_again),
    # All in one process.
    *(_both(f"embedded.committing:{nth}") for nth in (3, 6)),
    *(_both(f"embedded.committed:{nth}") for nth in (2, 5)),
    _both("retrier.queued", scene=scenes.is_tried_again),
    _both("gateway.accepted"),
    _both("runner.took"),
    _both("journal.claimed"),
    _both("runner.settled"),
    _both("journal.ended"),
    _both("outbox.appended"),
    _both("journal.told"),
    _both("view.committed:2"),
    _both("membership.entered"),
    _both("sweeper.removed:2", scene=losses.sweeps),
]

"""From a run specification to the body of Docker's create call. Pure; what keeps containers in their place is in here alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runner import labels
from runner.run_spec import ACTIONS, WORKSPACE, RunSpec
from runner.steps import Step

#: Where containers find the CA certificates that they shall trust, where there are some.
CA_BUNDLE = "/etc/pyexecutorhub/ca-bundle.crt"

_OPEN_FILES = 1024
#: Docker's own copy of the output on disk: ``local`` keeps bytes exact, and the sizes bound what a flood can fill.
_LOG_CONFIG = {"Type": "local", "Config": {"max-size": "16m", "max-file": "2", "compress": "false"}}
#: Bytes of a file of it, as Docker reads "16m". The older of two goes when a third is begun: what is kept then is at least one.
LOG_FILE_BYTES = 16_000_000


#: Docker's word, before an id, for the network of another container.
JOINED = "container:"

#: Runs what follows with bash, or with sh in an image that has none. The text is fixed: what follows is never part of it.
_BASH_OR_SH = ("sh", "-c", 'command -v bash >/dev/null && exec bash "$@"; exec sh "$@"', "sh")


#: Process 1's child where a container has several steps: reads which one this start is for, and becomes it. The text is fixed,
#: what it runs follows as arguments. Actions begin in the program's folder, whatever the image's own working directory is.
_AGENT = f"""
read -r step code
case $step in
  act_before | act_after)
    cd {WORKSPACE}
    [ "$step" = act_after ] && export EXIT_CODE="$code"
    exec "$(command -v python || command -v python3)" "{ACTIONS}/$step.py" </dev/null ;;
  program) exec "$@" </dev/null ;;
esac
exit 125
"""


def _is_composes(label: str) -> bool:
    # Compose marks what it builds as its project's. A container that inherits the mark would count as one of the project's, and
    # go with its orphans.
    return label.startswith("com.docker.compose.")


def order(step: Step, exit_code: int) -> bytes:
    """What the agent reads: which step this start is for, and the program's exit code, which only ``act_after`` is told."""
    return f"{step.value} {exit_code}\n".encode()


def ca_variables() -> dict[str, str]:
    """The variables that make pip, requests and Python trust :data:`CA_BUNDLE`."""
    return dict.fromkeys(("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), CA_BUNDLE)


@dataclass(frozen=True, slots=True)
class ImageCommand:
    """What an image runs by itself, as whom, and what it hands on."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    #: Empty where the image names nobody, which means root.
    user: str = ""
    #: Names of its labels, which its containers inherit.
    labels: Collection[str] = ()
    #: Docker's id of the image.
    image_id: str = ""
    #: The image to create containers from, where that is one made from this one.
    create_from: str | None = None


@dataclass(frozen=True, slots=True)
class Joint:
    """What a program's container shares of its network sandbox, as Docker's host knows it."""

    container_id: str
    #: Files that Docker mounts into every container that joins the network, by their place there.
    files: tuple[tuple[str, str], ...]

    @property
    def network_mode(self) -> str:
        """Docker's word for it."""
        return f"{JOINED}{self.container_id}"


def join(body: Mapping[str, Any], joint: Joint | None) -> Mapping[str, Any]:
    """The same body with the network of a sandbox, where there is one, instead of one of its own."""
    if joint is None:
        return body
    host = body["HostConfig"]
    mounts = [*host["Mounts"], *(mount(source, place) for place, source in joint.files)]
    return {**body, "HostConfig": {**host, "Mounts": mounts, "NetworkMode": joint.network_mode}}


def create_body(spec: RunSpec, image: ImageCommand) -> dict[str, Any]:
    """The body that makes the container of ``spec``, hardened as the profile ``standard`` says."""
    user, env = _user(spec, image)
    return {
        "Image": image.create_from or spec.image,
        **(_steps(spec, image) if spec.actions else _command(spec, image)),
        **user,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": {**dict.fromkeys(filter(_is_composes, image.labels), ""), **spec.labels},
        "Tty": False,
        "OpenStdin": bool(spec.actions),
        # Nobody else gets to give orders once the runner has gone.
        "StdinOnce": bool(spec.actions),
        "AttachStdin": bool(spec.actions),
        "AttachStdout": True,
        "AttachStderr": True,
        # Stopping means SIGTERM here, whatever the image asks for.
        "StopSignal": "SIGTERM",
        "HostConfig": hardened(
            _mounts(spec),
            memory_bytes=spec.memory_bytes,
            nano_cpus=spec.nano_cpus,
            pids_limit=spec.pids_limit,
            network_mode=spec.network.value,
        ),
    }


def _user(spec: RunSpec, image: ImageCommand) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Whom the program runs as, and its variables.

    Without capabilities root is bound by file permissions like anybody else: in a folder that belongs to somebody else it could
    not write, nor read what is private there. So the owner of the folder it is, unless the image has a user of its own.
    """
    env = {**(ca_variables() if spec.host_ca_bundle is not None else {}), **spec.env}
    if spec.user is None or image.user:
        return {}, env
    # An unknown user's home would be "/", where nothing can be written.
    return {"User": spec.user}, {"HOME": "/tmp", **env}  # noqa: S108 - the container's own


def _command(spec: RunSpec, image: ImageCommand) -> Mapping[str, Any]:
    if spec.argv is not None:
        interpreter, *rest = spec.argv
        argv = [*_BASH_OR_SH, *rest] if interpreter == "bash" else spec.argv
        # One empty string clears the image's entrypoint; an empty list would keep it.
        return {"Entrypoint": [""], "Cmd": list(argv), "WorkingDir": WORKSPACE}
    # The image's own command keeps the image's own working directory, which its relative paths count on.
    if not spec.arguments:
        return {}
    # With an entrypoint Docker's rule holds, and arguments take the place of the default ones; a bare command is continued.
    return {"Cmd": [*([] if image.entrypoint else image.command), *spec.arguments]}


def program_argv(spec: RunSpec, image: ImageCommand) -> list[str]:
    """The program's whole command line, also where it is the image's own."""
    entrypoint = [] if spec.argv is not None else image.entrypoint
    return [*entrypoint, *_command(spec, image).get("Cmd", image.command)]


def _steps(spec: RunSpec, image: ImageCommand) -> Mapping[str, Any]:
    """The agent, with the program's whole command line behind it."""
    command = ["sh", "-c", _AGENT, "sh", *program_argv(spec, image)]
    return {**_command(spec, image), "Entrypoint": [""], "Cmd": command}


def warm_body(spec: RunSpec, image: ImageCommand, agent: Sequence[str]) -> dict[str, Any]:
    """The body that makes a container which waits for an execution of this program: all is as for that one, but that it
    runs an agent, knows nothing of an execution, and listens to whoever is attached.
    """
    kept = (labels.MANAGED, labels.INSTANCE, labels.RUNNER_ID, labels.EPOCH, labels.PROGRAM_ID, labels.IMAGE)
    said = {name: spec.labels[name] for name in kept if name in spec.labels} | {labels.WARM: "true"}
    return {
        **create_body(replace(spec, env=spec.file_env, labels=said, actions=frozenset()), image),
        "Entrypoint": [""],
        "Cmd": list(agent),
        "OpenStdin": True,
        # It ends with the runner that it waits for.
        "StdinOnce": True,
        "AttachStdin": True,
    }


def _mounts(spec: RunSpec) -> list[dict[str, Any]]:
    mounts = [mount(spec.host_folder, WORKSPACE, read_only=False)]
    if spec.host_actions is not None:
        mounts.append(mount(spec.host_actions, ACTIONS))
    if spec.host_ca_bundle is not None:
        mounts.append(mount(spec.host_ca_bundle, CA_BUNDLE))
    return mounts


def mount(source: str, target: str, *, read_only: bool = True) -> dict[str, Any]:
    """A path of Docker's host inside a container. A mount, not a bind: Docker refuses a missing one instead of making it."""
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def hardened(
    mounts: list[dict[str, Any]],
    *,
    memory_bytes: int,
    nano_cpus: int,
    pids_limit: int,
    network_mode: str,
    capabilities: Sequence[str] = (),
) -> dict[str, Any]:
    """The part of a body that keeps a container in its place: as the profile ``standard`` says, with these limits."""
    return {
        "Mounts": mounts,
        "Memory": memory_bytes,
        # Memory and swap together: equal means no swap.
        "MemorySwap": memory_bytes,
        "NanoCpus": nano_cpus,
        "PidsLimit": pids_limit,
        "CapDrop": ["ALL"],
        **({"CapAdd": list(capabilities)} if capabilities else {}),
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "NetworkMode": network_mode,
        "IpcMode": "private",
        "Ulimits": [
            {"Name": "nofile", "Soft": _OPEN_FILES, "Hard": _OPEN_FILES},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        # Reaps orphans, and passes SIGTERM on to programs that would ignore it as process 1.
        "Init": True,
        # The exit code and the output are read after the end; the runner removes the container itself.
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": _LOG_CONFIG,
    }

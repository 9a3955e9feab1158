"""What a service of a restricted Compose file may ask for: an allowlist, one entry for each key. Pure.

What is harmless is kept; what would not work or not matter in a run that is made once and thrown away is left out, with a note
where people should know; everything else is refused, each with its name. A key that is not in these tables is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.image_names import is_image_name

#: What programs in common images need to start as root and go on as somebody else; none of it reaches beyond the container.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")

#: Taken over as they are.
_KEPT = frozenset(
    """
    command configs dns dns_opt dns_search domainname entrypoint environment expose group_add healthcheck hostname init
    links platform read_only secrets shm_size stdin_open stop_grace_period stop_signal tmpfs ulimits user working_dir
    """.split()  # noqa: SIM905 - one to a line would hide them
)
#: Left out: a run has no use for them. (``depends_on`` is obeyed by the engine, limits and labels are set anew.)
_LEFT_OUT = frozenset(
    """
    attach cap_drop container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares
    cpus cpuset depends_on deploy develop env_file extends labels logging mem_limit mem_reservation mem_swappiness
    memswap_limit oom_score_adj pids_limit profiles pull_policy restart scale tty
    """.split()  # noqa: SIM905 - one to a line would hide them
)
#: Allowed only where they say that something is not to be.
_MUST_BE_OFF = frozenset({"privileged", "oom_kill_disable", "use_api_socket"})

_PORT = re.compile(
    r"(?:(?P<ip>[0-9]+(?:\.[0-9]+){3}|\[[0-9A-Fa-f:]+\]):)?(?:(?P<published>[0-9-]*):)?(?P<target>[0-9-]+)(?:/(?P<protocol>tcp|udp|sctp))?"
)
_HARMLESS_MOUNT_OPTIONS = frozenset(
    {"ro", "rw", "z", "Z", "nocopy", "consistent", "cached", "delegated", "rprivate", "private"}
)
_BUILD_KEYS = frozenset(
    {"args", "context", "dockerfile", "dockerfile_inline", "labels", "no_cache", "pull", "shm_size", "target"}
)


@dataclass
class Findings:
    """What came up while a document was read."""

    #: The folder that everything must lie in.
    folder: Path
    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    #: Where a service's words go.
    where: str = ""

    def refuse(self, what: str) -> None:
        """Something is not allowed."""
        self.refusals.append(f"{self.where}{what}")

    def note(self, what: str) -> None:
        """Something is done otherwise than the file says."""
        self.notes.append(f"{self.where}{what}")

    def source(self, what: str, path: str) -> Path:
        """A path that is used, which must lie in the folder. Where links lead is looked at when it is used."""
        source = Path(path)
        if ".." in source.parts or not source.is_absolute() or not source.is_relative_to(self.folder):
            self.refuse(f"{what}: {path} is not in the program's folder")
        self.sources.append(source)
        return source


def restrict_service(service: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """The service, less what is left out. What is refused is said in ``findings``."""
    allowed: dict[str, Any] = {}
    for key, value in service.items():
        if key.startswith("x-") or key in _LEFT_OUT:
            continue
        if key in _KEPT:
            allowed[key] = value
        elif key in _MUST_BE_OFF:
            if value not in (False, None, "false"):
                findings.refuse(key)
        elif (rule := _RULES.get(key)) is not None:
            kept = rule(value, findings)
            if kept is not None:
                allowed[key] = kept
        else:
            findings.refuse(key)
    if service.get("restart") not in (None, "no", False):
        findings.note("its restart policy is left out, since a run is made once")
    return allowed


def _image(value: Any, findings: Findings) -> Any:
    if not isinstance(value, str) or not is_image_name(value):
        findings.refuse(f"image: {value!r} is no name of an image")
    return value


def _cap_add(value: Any, findings: Findings) -> None:
    for capability in value or ():
        if _capability(capability) not in CAPABILITIES:
            findings.refuse(f"cap_add: {capability}")


def capabilities(service: dict[str, Any]) -> list[str]:
    """The capabilities that a restricted service gets: the common ones, less what it drops itself."""
    dropped = {_capability(each) for each in service.get("cap_drop") or ()}
    added = {_capability(each) for each in service.get("cap_add") or ()}
    return [each for each in CAPABILITIES if each in added or not dropped & {each, "ALL"}]


def _capability(value: Any) -> str:
    return str(value).upper().removeprefix("CAP_")


def _security_opt(value: Any, findings: Findings) -> None:
    for option in value or ():
        if str(option).replace("=", ":") not in ("no-new-privileges", "no-new-privileges:true"):
            findings.refuse(f"security_opt: {option}")


def _network_mode(value: Any, findings: Findings) -> Any:
    if value not in ("none", "bridge") and not str(value).startswith("service:"):
        findings.refuse(f"network_mode: {value}")
    return value


def _ipc(value: Any, findings: Findings) -> Any:
    if value not in ("private", "none", "shareable") and not str(value).startswith("service:"):
        findings.refuse(f"ipc: {value}")
    return value


def _extra_hosts(value: Any, findings: Findings) -> Any:
    if "host-gateway" in str(value):
        findings.refuse("extra_hosts: host-gateway")
    return value


def _networks(value: Any, findings: Findings) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, settings in (value if isinstance(value, dict) else dict.fromkeys(value or ())).items():
        for key in settings or {}:
            if key not in ("aliases", "priority", "gw_priority"):
                findings.refuse(f"networks: {name}: {key}")
        kept[name] = {"aliases": list(aliases)} if (aliases := (settings or {}).get("aliases")) else {}
    return kept


def _ports(value: Any, findings: Findings) -> list[str]:
    ports = []
    for port in value or ():
        if isinstance(port, dict):
            ip, published = port.get("host_ip"), str(port.get("published", ""))
            target, protocol = str(port.get("target", "")), port.get("protocol") or "tcp"
        elif match := _PORT.fullmatch(str(port)):
            ip, published, target, protocol = match["ip"], match["published"] or "", match["target"], match["protocol"] or "tcp"
        else:
            findings.refuse(f"ports: {port!r} can't be understood")
            continue
        ip = str(ip).strip("[]") if ip else None
        if ip is None:
            findings.note(f"port {published or target} is published on 127.0.0.1 alone")
            ip = "127.0.0.1"
        if not ip.startswith("127.") and ip != "::1":
            findings.refuse(f"ports: {ip} is not a loopback address")
        ports.append(f"{f'[{ip}]' if ':' in ip else ip}:{published}:{target}/{protocol}")
    return ports


def _volumes(value: Any, findings: Findings) -> list[Any]:
    return [mount for each in value or () if (mount := _mount(each, findings)) is not None]


def _mount(value: Any, findings: Findings) -> Any:
    kind, source, target, options = split_mount(value)
    if kind == "tmpfs":
        return {"type": "tmpfs", "target": target}
    if kind not in ("bind", "volume"):
        findings.refuse(f"volumes: a mount of type {kind}")
    for option in options - _HARMLESS_MOUNT_OPTIONS:
        findings.refuse(f"volumes: {option}")
    if kind == "bind" and source is not None:
        findings.source("volumes", source)
    return join_mount(kind, source, target, options & _HARMLESS_MOUNT_OPTIONS)


def split_mount(value: Any) -> tuple[str, str | None, str, frozenset[str]]:
    """Kind, source, target and options of a mount, as either version of Compose writes it."""
    if isinstance(value, dict):
        options = {"ro"} if value.get("read_only") else set()
        bind, volume = value.get("bind") or {}, value.get("volume") or {}
        options |= {bind["propagation"]} if bind.get("propagation") else set()
        options |= {bind["selinux"]} if bind.get("selinux") else set()
        options |= {"nocopy"} if volume.get("nocopy") else set()
        options |= {f"{key} of a bind" for key in bind.keys() - {"propagation", "selinux", "create_host_path"}}
        options |= {f"{key} of a volume" for key in volume.keys() - {"nocopy"}}
        return str(value.get("type")), value.get("source"), str(value.get("target")), frozenset(options)
    parts = str(value).split(":")
    if len(parts) == 1:
        return "volume", None, parts[0], frozenset()
    source, target, *rest = parts
    kind = "bind" if source.startswith(("/", ".", "~")) else "volume"
    return kind, source, target, frozenset(option for part in rest for option in part.split(",") if option)


def join_mount(kind: str, source: str | None, target: str, options: frozenset[str]) -> Any:
    """The mount as both versions of Compose read it, a missing folder being made."""
    if source is None:
        return target
    if ":" in source or ":" in target:
        return {"type": kind, "source": source, "target": target, "read_only": "ro" in options}
    return ":".join([source, target, *([",".join(sorted(options))] if options else [])])


def _build(value: Any, findings: Findings) -> dict[str, Any]:
    build = value if isinstance(value, dict) else {"context": value}
    for key in build.keys() - _BUILD_KEYS:
        # Compose 1 knows the network that is used anyway by this name.
        if build[key]:
            findings.refuse(f"build: {key}")
    context = findings.source("build: context", str(build.get("context")))
    dockerfile = str(build.get("dockerfile") or "Dockerfile")
    if "dockerfile_inline" not in build:
        findings.source("build: dockerfile", str(context / dockerfile))
    kept = {key: build[key] for key in build.keys() & _BUILD_KEYS}
    if isinstance(args := kept.get("args"), dict):
        # One without a value would be looked up in Compose's own environment.
        kept["args"] = {name: value for name, value in args.items() if value is not None}
    return kept


_RULES: dict[str, Callable[[Any, Findings], Any]] = {
    "build": _build,
    "cap_add": _cap_add,
    "extra_hosts": _extra_hosts,
    "image": _image,
    "ipc": _ipc,
    "network_mode": _network_mode,
    "networks": _networks,
    "ports": _ports,
    "security_opt": _security_opt,
    "volumes": _volumes,
}

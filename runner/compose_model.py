"""From the model that Compose resolved to the project that is run: checked, limited and labelled. Pure."""

import graphlib
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runner import labels
from runner.compose_plan import ComposePlan
from runner.compose_project import Condition, Project, Service
from runner.compose_rules import Findings, capabilities, join_mount, restrict_service, split_mount
from runner.compose_spec import ComposeSpec
from runner.errors import CannotRun
from schemas.errors import BadQuantity
from schemas.quantities import parse_bytes, parse_nano_cpus
from schemas.reasons import Reason

#: Containers of one restricted program.
MOST_CONTAINERS = 10

_TOP_LEVEL = frozenset({"name", "version", "services", "networks", "volumes", "configs", "secrets"})
#: Docker's own copy of the output on disk, as for every other program.
_LOGGING = {"driver": "local", "options": {"max-size": "16m", "max-file": "2", "compress": "false"}}
_NOT_IN_AN_IMAGE = re.compile(r"[^a-z0-9]+")


def make_project(resolved: Mapping[str, Any], spec: ComposeSpec, *, working_copy: Path | None) -> Project:
    """The project to run.

    ``working_copy`` is the folder in which Compose saw the file at its place, as if that folder were the root of all.

    Raises:
        CannotRun: the file asks for what it may not have, or for what can't be run.
    """
    document = {key: value for key, value in _unescaped(resolved).items() if not key.startswith("x-")}
    services = {
        name: dict(service or {})
        for name, service in (document.get("services") or {}).items()
        # Only what nobody asked for has a profile.
        if not (service or {}).get("profiles")
    }
    findings = Findings(spec.folder)
    if working_copy is not None:
        document, services = (_moved(part, str(working_copy)) for part in (document, services))
    if not services:
        findings.refuse("no service is left to run")
    needs = {name: _needs(service, services) for name, service in services.items()}
    limits = {name: _limits(name, service, spec, findings) for name, service in services.items()}
    top = _top_level(document, services, spec, findings)
    finished = {}
    for name, service in services.items():
        findings.where = f"service '{name}': "
        finished[name] = _finish(name, service, spec, findings) | limits[name]
    project = Project(
        services={
            name: Service(name, None if "build" in service else service["image"], needs[name], service["mem_limit"])
            for name, service in finished.items()
        },
        document={"services": {name: _escaped(service) for name, service in finished.items()}, **_escaped(top)},
        sources=tuple(findings.sources),
        notes=tuple(findings.notes),
    )
    findings.where = ""
    try:
        project.stop_order()
    except graphlib.CycleError:
        findings.refuse("services depend on each other in a circle")
    if findings.refusals:
        raise refused(spec, findings.refusals)
    return project


def refused(spec: ComposeSpec | ComposePlan, refusals: list[str] | tuple[str, ...]) -> CannotRun:
    """What people are told about a file that asks for too much."""
    advice = (
        "" if spec.trusted else ". A program with compose_profile: trusted may ask for it; its file is then root on the host"
    )
    return CannotRun(
        Reason.COMPOSE_REFUSED, f"The Compose file {spec.file.name} is refused: {'; '.join(refusals)[:3000]}{advice}."
    )


def _finish(name: str, service: dict[str, Any], spec: ComposeSpec, findings: Findings) -> dict[str, Any]:
    networks = _aliased(service)
    if spec.trusted:
        kept = {key: value for key, value in service.items() if key not in ("restart", "depends_on", "env_file", "profiles")}
        kept = {key: value for key, value in kept.items() if value is not None or key in ("command", "entrypoint")}
        kept.setdefault("logging", _LOGGING)
    else:
        kept = restrict_service(service | networks, findings)
        kept |= {
            "cap_drop": ["ALL"],
            "cap_add": capabilities(service),
            "security_opt": ["no-new-privileges:true"],
            "logging": _LOGGING,
            "ulimits": {"core": 0, **(service.get("ulimits") or {})},
        }
    # A terminal would mix both streams into one, and colours into the text.
    kept["tty"] = False
    kept["labels"] = _labels(service.get("labels"), spec)
    kept["environment"] = _environment(service.get("environment"))
    kept["volumes"] = [_as_the_host_sees_it(mount, spec) for mount in kept.get("volumes") or ()]
    if "build" in kept:
        build = kept["build"] if isinstance(kept["build"], dict) else {"context": kept["build"]}
        kept["build"] = build | {
            "labels": _strings(build.get("labels"))
            | {labels.BUILT_FOR: spec.program_id, labels.INSTANCE: spec.labels[labels.INSTANCE]}
        }
        if not (spec.trusted and kept.get("image")):
            # Of this program alone: a name of its own choice could be another program's image.
            kept["image"] = built_image(spec, name)
    elif not kept.get("image"):
        findings.refuse("it has neither an image nor a build")
        kept["image"] = ""
    return kept


def built_image(spec: ComposeSpec, service: str) -> str:
    """The name of the image that is built for a service: the same for every run, so what did not change is not built anew."""
    identity = f"{spec.labels[labels.INSTANCE]} {spec.program_id} {service}"
    readable = _NOT_IN_AN_IMAGE.sub("-", f"{spec.program_id}-{service}".lower()).strip("-")[:80] or "image"
    return f"pyexecutorhub-compose/{readable}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def _needs(service: Mapping[str, Any], services: Mapping[str, Any]) -> dict[str, Condition]:
    said = service.get("depends_on") or {}
    needs = dict.fromkeys(said, Condition.STARTED) if isinstance(said, list) else {
        name: Condition((how or {}).get("condition") or Condition.STARTED) for name, how in said.items()
    }  # fmt: skip
    for key in ("network_mode", "ipc", "pid"):
        if str(service.get(key)).startswith("service:"):
            needs.setdefault(str(service[key]).removeprefix("service:"), Condition.STARTED)
    for link in service.get("links") or ():
        needs.setdefault(str(link).partition(":")[0], Condition.STARTED)
    return {name: condition for name, condition in needs.items() if name in services}


def _limits(name: str, service: Mapping[str, Any], spec: ComposeSpec, findings: Findings) -> dict[str, Any]:
    """The limits of a service: its own, which a restricted file may only lower, else those of the program."""
    findings.where = f"service '{name}': "
    said = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}

    def limit(what: str, value: Any, parse: Callable[[object], int], most: int) -> int:
        # Compose writes "no limit" as zero or less.
        if value in (None, "", 0, "0", -1, "-1", 0.0):
            return most
        try:
            asked = parse(value)
        except (BadQuantity, ValueError) as error:
            findings.refuse(f"{what}: {error}")
            return most
        if asked > most and not spec.trusted:
            findings.note(f"its {what} is lowered to what the program may have")
        return asked if spec.trusted else min(asked, most)

    memory = limit("memory limit", service.get("mem_limit") or said.get("memory"), parse_bytes, spec.memory_bytes)
    cpus = limit("processor limit", service.get("cpus") or said.get("cpus"), parse_nano_cpus, spec.nano_cpus)
    pids = limit("process limit", service.get("pids_limit") or said.get("pids"), _count, spec.pids_limit)
    return {"mem_limit": memory, "memswap_limit": memory, "cpus": cpus / 1e9, "pids_limit": pids, "scale": _scale(service)}


def _count(value: object) -> int:
    return int(str(value))


def _scale(service: Mapping[str, Any]) -> int:
    said = service.get("scale") or (service.get("deploy") or {}).get("replicas")
    return 1 if said is None else int(said)


def _aliased(service: Mapping[str, Any]) -> dict[str, Any]:
    """Its networks, with its ``container_name`` as an alias: two runs can't have one name, but others may call it by that."""
    if service.get("network_mode"):
        return {}
    said = service.get("networks") or {"default": None}
    networks = {name: dict((said[name] if isinstance(said, dict) else None) or {}) for name in said}
    if alias := service.get("container_name"):
        for settings in networks.values():
            settings["aliases"] = [*(settings.get("aliases") or ()), alias]
    return {"networks": networks}


def _top_level(
    document: Mapping[str, Any], services: Mapping[str, Any], spec: ComposeSpec, findings: Findings
) -> dict[str, Any]:
    findings.where = ""
    networks = {"default": None, **(document.get("networks") or {})}
    top: dict[str, Any] = {
        "networks": {name: _resource("network", name, said or {}, spec, findings) for name, said in networks.items()},
        "volumes": {
            name: _resource("volume", name, said or {}, spec, findings)
            for name, said in (document.get("volumes") or {}).items()
        },
    }
    for kind in ("configs", "secrets"):
        if said := document.get(kind):
            top[kind] = {name: _file(kind, name, dict(entry or {}), spec, findings) for name, entry in said.items()}
    if not spec.trusted:
        for key in document.keys() - _TOP_LEVEL:
            findings.refuse(key)
        if sum(_scale(service) for service in services.values()) > MOST_CONTAINERS:
            findings.refuse(f"more than {MOST_CONTAINERS} containers")
    return top


def _resource(kind: str, name: str, said: Mapping[str, Any], spec: ComposeSpec, findings: Findings) -> dict[str, Any]:
    """A network or a volume."""
    if said.get("external"):
        if not spec.trusted:
            findings.refuse(f"{kind} '{name}': external")
        return dict(said)
    kept = {key: value for key, value in said.items() if value not in (None, {}, [], "")}
    if kept.get("name") == f"{spec.project}_{name}":
        del kept["name"]
    if not spec.trusted:
        allowed = {"labels", "driver", *(("internal", "attachable", "enable_ipv6") if kind == "network" else ())}
        for key in kept.keys() - allowed:
            findings.refuse(f"{kind} '{name}': {key}")
        if kept.get("driver", "local") not in (("local", "bridge") if kind == "network" else ("local",)):
            findings.refuse(f"{kind} '{name}': driver {kept['driver']}")
        if kind == "network":
            kept.pop("driver", None)
    return kept | {"labels": _labels(said.get("labels"), spec)}


def _file(kind: str, name: str, said: dict[str, Any], spec: ComposeSpec, findings: Findings) -> dict[str, Any]:
    """A config or a secret."""
    said = {key: value for key, value in said.items() if value is not None}
    if said.get("name") == f"{spec.project}_{name}":
        del said["name"]
    if not spec.trusted:
        for key in said.keys() - {"file", "content", "environment", "labels"}:
            findings.refuse(f"{kind}: {name}: {key}")
        if "file" in said:
            findings.source(f"{kind}: {name}", str(said["file"]))
    if "file" in said:
        said["file"] = spec.paths.of(Path(str(said["file"])))
    return said


def _labels(said: Any, spec: ComposeSpec) -> dict[str, str]:
    theirs = {
        name: text for name, text in _strings(said).items() if not name.startswith((labels.PREFIX, "com.docker."))
    }  # fmt: skip
    return theirs | dict(spec.labels)


def _strings(said: Any) -> dict[str, str]:
    """A mapping, or a list of ``name=value``, as a mapping."""
    pairs = said.items() if isinstance(said, dict) else (str(each).partition("=")[::2] for each in said or ())
    return {str(name): "" if text is None else str(text) for name, text in pairs}


def _environment(said: Any) -> dict[str, str]:
    """The variables of a service. One without a value would be looked up in Compose's own environment: left out."""
    if isinstance(said, dict):
        return {str(name): _text(value) for name, value in said.items() if value is not None}
    return {name: value for name, equals, value in (str(each).partition("=") for each in said or ()) if equals}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_the_host_sees_it(mount: Any, spec: ComposeSpec) -> Any:
    kind, source, target, options = split_mount(mount)
    if kind != "bind" or source is None:
        return mount
    if isinstance(mount, dict):
        return mount | {"source": spec.paths.of(Path(source))}
    return join_mount(kind, spec.paths.of(Path(source)), target, options)


def _moved(value: Any, root: str) -> Any:
    """The same with every path below ``root`` as the path that it stands for."""
    if isinstance(value, dict):
        return {key: _moved(inner, root) for key, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, root) for inner in value]
    return value[len(root) :] if isinstance(value, str) and value.startswith(f"{root}/") else value


def _unescaped(value: Any) -> Any:
    """Without the doubling of ``$`` that a model has which is to be interpolated once more."""
    if isinstance(value, dict):
        return {key: _unescaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unescaped(inner) for inner in value]
    return value.replace("$$", "$") if isinstance(value, str) else value


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value

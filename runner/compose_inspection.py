"""What Docker has made for a restricted Compose program, held against the rules once more before it is started. Pure."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.compose_rules import CAPABILITIES
from runner.compose_spec import ComposeSpec

#: Fields of Docker's host configuration that must be empty.
_EMPTY = ("Devices", "DeviceRequests", "DeviceCgroupRules", "VolumesFrom", "Sysctls", "CgroupParent", "StorageOpt")
#: Namespaces that services of one project may share: the rules let a file name no other container.
_SHARED = frozenset({"NetworkMode", "IpcMode"})
_MODES = ("NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode")


def objections(inspected: Mapping[str, Any], spec: ComposeSpec) -> list[str]:
    """What about a container is not as it must be; empty where all is well."""
    host = inspected["HostConfig"]
    wrong = [field for field in _EMPTY if host.get(field)]
    wrong += [field for field in ("Privileged", "PublishAllPorts", "OomKillDisable") if host.get(field)]
    wrong += [field for field in _MODES if host.get(field) == "host" or (_is_shared(host, field) and field not in _SHARED)]
    wrong += [f"capability {each}" for each in host.get("CapAdd") or () if each.removeprefix("CAP_") not in CAPABILITIES]
    if "ALL" not in (host.get("CapDrop") or ()):
        wrong.append("capabilities are not dropped")
    if not any(str(each).startswith("no-new-privileges") for each in host.get("SecurityOpt") or ()):
        wrong.append("it may gain privileges")
    wrong += [
        field
        for field, most in (("Memory", spec.memory_bytes), ("NanoCpus", spec.nano_cpus), ("PidsLimit", spec.pids_limit))
        if not 0 < (host.get(field) or 0) <= most
    ]
    folder = spec.paths.of(spec.folder)
    wrong += [
        f"a bind of {mount['Source']}"
        for mount in inspected.get("Mounts") or ()
        if mount["Type"] == "bind" and not Path(os.path.normpath(mount["Source"])).is_relative_to(folder)
    ]
    return wrong


def _is_shared(host: Mapping[str, Any], field: str) -> bool:
    return str(host.get(field)).startswith("container:")

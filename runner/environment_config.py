"""An environment: an image with what a program requires installed in it. From requirements to Docker's calls. Pure."""

import hashlib
import io
import shlex
import tarfile
from typing import Any

from runner import labels
from runner.container_config import CA_BUNDLE, ImageCommand, ca_variables, hardened, mount
from runner.identity import Identity
from runner.requirements import ACTIONS_FOLDER, WORKSPACE_FOLDER, Requirements
from runner.run_spec import RunSpec
from schemas.programs import Network

#: Name of every environment's image, whose tag says what is in it; and how the names of the containers begin that make them.
REPOSITORY = "pyexecutorhub-env"

#: Exit status of the script below where there is no pip.
NO_PIP = 97

#: Where in the container everything lies that is there for pip alone.
_PLACE = "/opt/pyexecutorhub"

#: Bytes, billionths of a processor and processes of an installation. It is no part of a run: a program may need much less.
_MEMORY_BYTES = 2 * 1024**3
_NANO_CPUS = 1_000_000_000
_PIDS_LIMIT = 512

# The text is fixed, what pip is to read follows as arguments. A folder that packages lie in is copied: pip writes beside them.
_SCRIPT = f"""
umask 022
. {_PLACE}/variables
rm -f {_PLACE}/variables
if python -m pip --version >/dev/null 2>&1; then python=python
elif python3 -m pip --version >/dev/null 2>&1; then python=python3
else exit {NO_PIP}
fi
keep=
for folder in {WORKSPACE_FOLDER} {ACTIONS_FOLDER}; do
  if [ -d "{_PLACE}/host/$folder" ]; then
    keep=yes
    cp -R "{_PLACE}/host/$folder" "{_PLACE}/$folder" || exit 1
    rm -f "{_PLACE}/$folder/.env"
  fi
done
cp -R {_PLACE}/given/. {_PLACE}/ && rm -rf {_PLACE}/given || exit 1
cd {_PLACE}/{WORKSPACE_FOLDER} 2>/dev/null || cd {_PLACE}/{ACTIONS_FOLDER}
"$python" -m pip install --no-cache-dir --progress-bar off "$@"
status=$?
cd /
[ "$keep" ] || rm -rf {_PLACE}/{WORKSPACE_FOLDER} {_PLACE}/{ACTIONS_FOLDER}
exit $status
"""

_VARIABLES = {
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_RETRIES": "3",
    "PIP_ROOT_USER_ACTION": "ignore",
}


def environment_name(identity: Identity, image: ImageCommand, wanted: Requirements) -> str:
    """The name of the image that has all of it: the same for the same, and each hub has its own."""
    key = f"{identity.instance}\n{image.image_id}\n{wanted.digest}"
    return f"{REPOSITORY}:{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def builder_body(spec: RunSpec, wanted: Requirements, image: ImageCommand, identity: Identity) -> dict[str, Any]:
    """The body of the container that pip runs in. What it needs comes as an archive, so it sees nothing else of the program."""
    hosts = {WORKSPACE_FOLDER: spec.host_folder, ACTIONS_FOLDER: spec.host_actions}
    mounts = [
        mount(host, f"{_PLACE}/host/{folder}")
        for folder, host in hosts.items()
        if folder in wanted.whole_folders and host is not None
    ]
    if spec.host_ca_bundle is not None:
        mounts.append(mount(spec.host_ca_bundle, CA_BUNDLE))
    return {
        # By its id: the name may be given to another image at any moment.
        "Image": image.image_id,
        "Entrypoint": ["sh", "-c", _SCRIPT, "sh"],
        "Cmd": [word for root in wanted.roots for word in ("-r", f"{_PLACE}/{root}")],
        # Only root may write where packages go. Named only where the image names somebody else: the new image inherits it.
        **({"User": "0"} if image.user else {}),
        "Labels": {
            labels.MANAGED: "true",
            labels.INSTANCE: identity.instance,
            labels.RUNNER_ID: identity.runner_id,
            labels.IMAGE: spec.image,
        },
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": hardened(
            mounts,
            memory_bytes=_MEMORY_BYTES,
            nano_cpus=_NANO_CPUS,
            pids_limit=_PIDS_LIMIT,
            # Whatever the program itself may see of it: pip fetches from there.
            network_mode=Network.BRIDGE.value,
            # Packages may lie in folders that are not root's.
            capabilities=("DAC_OVERRIDE",),
        ),
    }


def archive(spec: RunSpec, wanted: Requirements) -> bytes:
    """The files for pip, to be put into the container's root: not compressed, so that nothing of the image unpacks it."""
    variables = {**_VARIABLES, **(ca_variables() if spec.host_ca_bundle is not None else {}), **wanted.env}
    files = {f"given/{path}": content for path, content in wanted.files.items()}
    files["variables"] = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(f"{_PLACE.removeprefix('/')}/{path}")
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def image_config(image: ImageCommand) -> dict[str, Any]:
    """What is said of the new image beyond what it inherits from the container: all that the container had changed, back."""
    return {
        # An empty list is none; no list would be the container's.
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "User": image.user,
        # A container that somebody makes of it by hand is not this runner's.
        "Labels": {labels.MANAGED: "", labels.RUNNER_ID: ""},
    }

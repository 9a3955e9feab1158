"""Programs for the fleet, among them one that converts documents, and what became of them."""

from pathlib import Path
from typing import Any

import yaml
from pypdf import PdfReader

from tests.full.conftest import Fleet
from tests.support.api import Api
from tests.support.wait import eventually

#: The program of the seed's README; which document it takes comes as a parameter here.
PROGRAM = """\
#!/usr/bin/env python3
import subprocess
import os

def convert_document():
    input_file = os.getenv("PARAM_INPUT", "/workspace/document.docx")
    output_dir = "/workspace/output"

    # Create output directory
    os.makedirs(output_dir, exist_ok=True)

    # Convert document to PDF
    cmd = [
        "libreoffice",
        "--headless",
        "--convert-to", "pdf",
        "--outdir", output_dir,
        input_file
    ]

    result = subprocess.run(cmd, capture_output=True, text=True)

    if result.returncode == 0:
        print("Document converted successfully")
    else:
        print(f"Conversion failed: {result.stderr}")

    return result.returncode

if __name__ == "__main__":
    exit(convert_document())
"""


def write_program(fleet: Fleet, name: str, text: str, **entry: object) -> Path:
    """A program in the fleet's folder, and in its config.yaml."""
    folder = fleet.folder / "scripts" / name
    folder.mkdir()
    (folder / "main.py").write_text(text, encoding="utf-8")
    path = fleet.folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["scripts"][name] = {"path": f"scripts/{name}", **entry}
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(config), encoding="utf-8")
    fresh.replace(path)
    return folder


def text_of(path: Path) -> str:
    """The text of a PDF."""
    return "\n".join(page.extract_text() for page in PdfReader(path).pages)


async def run(api: Api, program: str, **parameters: object) -> dict[str, Any]:
    """Run it as soon as it is known, and see that it ended well."""

    async def names() -> set[str]:
        return {each["id"] for each in await api.get("/programs")}

    await eventually(names, lambda seen: program in seen)
    record = await api.run(program, **parameters)
    assert record["status"] == "completed", (record["output"], record["error"])
    return record

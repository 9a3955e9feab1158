"""A program that converts documents, and what became of them."""

from pathlib import Path

import yaml
from pypdf import PdfReader

from tests.full.conftest import Fleet

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


def write_program(fleet: Fleet, name: str, text: str) -> Path:
    """A program in the fleet's folder, and in its config.yaml."""
    folder = fleet.folder / "scripts" / name
    folder.mkdir()
    (folder / "main.py").write_text(text, encoding="utf-8")
    path = fleet.folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["scripts"][name] = {"path": f"scripts/{name}"}
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(config), encoding="utf-8")
    fresh.replace(path)
    return folder


def text_of(path: Path) -> str:
    """The text of a PDF."""
    return "\n".join(page.extract_text() for page in PdfReader(path).pages)

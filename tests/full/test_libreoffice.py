"""Programs that work on documents, in the fleet's base image."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from pypdf import PdfReader

from tests.full.conftest import Fleet
from tests.full.users import credentials, user_of
from tests.support.api import Api
from tests.support.office_files import write_docx, write_flat, write_xlsx
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(1200)]

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
SOMEBODY = 12345


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


async def run(api: Api, program: str, **parameters: object) -> None:
    """Run it as soon as it is known, and see that it ended well."""

    async def names() -> set[str]:
        return {each["id"] for each in await api.get("/programs")}

    await eventually(names, lambda seen: program in seen)
    record = await api.run(program, **parameters)
    assert record["status"] == "completed", (record["output"], record["error"])


def text_of(path: Path) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(path).pages)


@pytest.fixture
async def api(fleet: Fleet) -> AsyncIterator[Api]:
    async with user_of(fleet, credentials(fleet)) as api:
        yield api


@pytest.mark.parametrize("owner", [0, SOMEBODY], ids=["of-root", "of-somebody"])
async def test_r14_a_document_and_a_workbook_become_pdfs_in_a_container(fleet: Fleet, api: Api, owner: int) -> None:
    folder = write_program(fleet, f"convert_{owner}", PROGRAM)
    write_docx(folder / "document.docx", "Accepted is durable", "Ñandú, größer, 42 €")
    write_xlsx(folder / "sheet.xlsx", ("name", "amount"), ("first", 1720), ("second", 2022), ("total", "=SUM(B2:B3)"))
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner, owner)
    # Nobody else may look into it.
    folder.chmod(0o700)

    await run(api, folder.name)
    await run(api, folder.name, input="/workspace/sheet.xlsx")

    document = text_of(folder / "output" / "document.pdf")
    assert "Accepted is durable" in document
    assert "Ñandú, größer, 42 €" in document
    sheet = text_of(folder / "output" / "sheet.pdf")
    assert "second" in sheet
    # The formula was computed, not copied.
    assert "3742" in sheet
    assert (folder / "output" / "sheet.pdf").stat().st_uid == owner


async def test_r14_slides_and_drawings_become_pdfs_too_and_all_six_parts_are_there(fleet: Fleet, api: Api) -> None:
    folder = write_program(
        fleet,
        "slides",
        "import subprocess, sys\n"
        "parts = [f'libreoffice-{part}-nogui' for part in ('writer', 'calc', 'impress', 'draw', 'math', 'base')]\n"
        "subprocess.run(['dpkg', '--verify', *parts], check=True)\n"
        "files = ['talk.fodp', 'plan.fodg']\n"
        "convert = ['libreoffice', '--headless', '--convert-to', 'pdf', '--outdir', 'output', *files]\n"
        "sys.exit(subprocess.run(convert).returncode)\n",
    )
    write_flat(folder / "talk.fodp", "presentation", "presentation", "Said in one slide")
    write_flat(folder / "plan.fodg", "graphics", "drawing", "Drawn in one box")
    await run(api, "slides")
    assert "Said in one slide" in text_of(folder / "output" / "talk.pdf")
    assert "Drawn in one box" in text_of(folder / "output" / "plan.pdf")


async def test_r14_the_base_image_has_python_3_11_pip_and_the_mariadb_driver(fleet: Fleet, api: Api) -> None:
    write_program(
        fleet,
        "driver",
        "import subprocess, sys\n"
        "import mariadb\n"
        "assert sys.version_info[:2] == (3, 11)\n"
        "subprocess.run([sys.executable, '-m', 'pip', '--version'], check=True)\n"
        "try:\n"
        "    mariadb.connect(host='127.0.0.1', port=1, user='nobody', password='none', database='none')\n"
        "except mariadb.OperationalError as error:\n"
        '    sys.exit(0 if "Can\'t connect" in str(error) else str(error))\n'
        "sys.exit('somebody answered')\n",
    )
    await run(api, "driver")

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
from tests.support.office_files import write_docx, write_xlsx
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


async def test_r14_the_base_image_has_the_mariadb_driver_and_all_six_parts_of_libreoffice(fleet: Fleet, api: Api) -> None:
    write_program(
        fleet,
        "parts",
        "import mariadb, pathlib, sys\n"
        "assert sys.version_info[:2] == (3, 11)\n"
        "try:\n"
        "    mariadb.connect(host='127.0.0.1', port=1, user='nobody', password='none')\n"
        "except mariadb.Error as error:\n"
        "    print('the driver tried:', error)\n"
        "program = pathlib.Path('/usr/lib/libreoffice/program')\n"
        "for part in ('swriter', 'scalc', 'simpress', 'sdraw', 'smath', 'sbase'):\n"
        "    assert (program / part).exists() or list(program.glob(f'lib{part[1:4]}*')), part\n",
    )
    await run(api, "parts")

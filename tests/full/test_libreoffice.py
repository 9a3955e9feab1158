"""Programs that work on documents, in the fleet's base image."""

import os
from collections.abc import AsyncIterator

import pytest

from tests.full.conftest import Fleet
from tests.full.documents import PROGRAM, run, text_of, write_program
from tests.full.users import credentials, user_of
from tests.support.api import Api
from tests.support.office_files import write_docx, write_flat, write_xlsx

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(1200)]

SOMEBODY = 12345


@pytest.fixture
async def api(fleet: Fleet) -> AsyncIterator[Api]:
    async with user_of(fleet, credentials(fleet)) as api:
        yield api


@pytest.mark.parametrize("owner", [0, SOMEBODY], ids=["of-root", "of-somebody"])
async def test_r14_a_document_and_a_workbook_become_pdfs_in_a_container(fleet: Fleet, api: Api, owner: int) -> None:
    folder = write_program(fleet, f"convert_{owner}", PROGRAM)
    write_docx(folder / "document.docx", "Accepted is durable", "Ñandú, größer, 42 €", fraction=(1729, 4104))
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
    # Math draws the formula.
    assert "1729" in document
    assert "4104" in document
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

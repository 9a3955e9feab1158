"""Minimal documents, made with the standard library alone."""

import zipfile
from pathlib import Path

_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def write_docx(path: Path, *paragraphs: str, fraction: tuple[int, int] | None = None) -> None:
    """A document of these paragraphs, and a formula where a fraction is given."""
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    if fraction is not None:
        over, under = (f"<m:r><m:t>{number}</m:t></m:r>" for number in fraction)
        body += f"<w:p><m:oMath><m:f><m:num>{over}</m:num><m:den>{under}</m:den></m:f></m:oMath></w:p>"
    _write(
        path,
        main="word/document.xml",
        kind="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
        parts={"word/document.xml": f'<w:document xmlns:w="{_WORD}" xmlns:m="{_MATH}"><w:body>{body}</w:body></w:document>'},
    )


def write_xlsx(path: Path, *rows: tuple[str | int, ...]) -> None:
    """A workbook with one sheet of these rows; a text that begins with ``=`` is a formula."""
    cells = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
    sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"
    _write(
        path,
        main="xl/workbook.xml",
        kind="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
        parts={
            "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}"><sheets>'
            '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELATIONS}">'
            f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_SHEET}"><sheetData>{cells}</sheetData></worksheet>',
        },
        more_types={"/xl/worksheets/sheet1.xml": sheet},
    )


def write_flat(path: Path, kind: str, body: str, text: str) -> None:
    """A slide or a drawing with one text, in OpenDocument's form of a single file: kind and body as its elements are called."""
    names = {"office": "office", "draw": "drawing", "text": "text", "svg": "svg-compatible"}
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{full}:1.0"' for name, full in names.items())
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<office:document {spaces} office:version="1.2" '
        f'office:mimetype="application/vnd.oasis.opendocument.{kind}"><office:body><office:{body}><draw:page>'
        '<draw:frame svg:x="1cm" svg:y="1cm" svg:width="10cm" svg:height="2cm"><draw:text-box>'
        f"<text:p>{text}</text:p></draw:text-box></draw:frame></draw:page></office:{body}></office:body></office:document>",
        encoding="utf-8",
    )


def _cell(value: str | int) -> str:
    if isinstance(value, int):
        return f"<c><v>{value}</v></c>"
    if value.startswith("="):
        return f"<c><f>{value[1:]}</f></c>"
    return f'<c t="inlineStr"><is><t>{value}</t></is></c>'


def _write(path: Path, *, main: str, kind: str, parts: dict[str, str], more_types: dict[str, str] | None = None) -> None:
    types = "".join(
        f'<Override PartName="{name}" ContentType="{content_type}"/>'
        for name, content_type in {f"/{main}": kind, **(more_types or {})}.items()
    )
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_TYPES}">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{types}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="{main}"/></Relationships>',
        **parts,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n{content}')

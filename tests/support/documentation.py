"""The blocks of code in a Markdown document."""

from collections.abc import Iterator

_INDENT = "    "


def code_blocks(text: str) -> Iterator[str]:
    """Every block, indented or fenced, without its indent or its fences."""
    lines = iter(text.splitlines())
    block: list[str] = []
    for line in lines:
        if line.startswith("```"):
            yield "\n".join(iter(lambda: next(lines), "```"))
        elif line.startswith(_INDENT) or (block and not line):
            block.append(line.removeprefix(_INDENT))
        elif block:
            yield "\n".join(block).rstrip()
            block = []
    if block:
        yield "\n".join(block).rstrip()

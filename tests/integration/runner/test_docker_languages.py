"""Programs in other languages than Python, and images that lack what others have."""

from tests.integration.runner.conftest import COLD_AND_WARM, MakeHub
from tests.support.runner_fixtures import Hub

pytestmark = COLD_AND_WARM

SHELL = """\
printf 'by %s:' "${BASH_VERSION:+bash}"
printf ' <%s>' "$@"
printf ' %s\\n' "$PARAM_NAME"
exit 7
"""
NODE = """\
console.log(`node with ${JSON.stringify(process.argv.slice(2))} for ${process.env.PARAM_NAME}`);
process.exit(7);
"""
#: What a shell would make something else of, if one saw it.
PARAMETERS = "--mode production 'two words' '$(id)' ';rm'"


def put(around: Hub, name: str, text: str) -> None:
    (around.catalogues.current.project_dir / "example" / name).write_text(text)


async def run(around: Hub) -> tuple[str | None, int | None]:
    async with around.runner():
        ended = await around.ended(await around.submit(name="Temis"))
    assert not ended.stderr.content, ended.stderr.content
    return ended.stdout.content, ended.exit_code


async def test_r5_r7_b15_a_shell_program_runs_with_bash_and_gets_its_parameters_as_they_are(hub: MakeHub) -> None:
    around = hub(main_file="main.sh", parameters=PARAMETERS)
    put(around, "main.sh", SHELL)

    assert await run(around) == ("by bash: <--mode> <production> <two words> <$(id)> <;rm> Temis\n", 7)


async def test_r5_b15_a_shell_program_runs_with_sh_in_an_image_without_bash(hub: MakeHub, small_image: str) -> None:
    around = hub(main_file="main.sh", parameters=PARAMETERS, docker_image=small_image)
    put(around, "main.sh", SHELL)

    assert await run(around) == ("by : <--mode> <production> <two words> <$(id)> <;rm> Temis\n", 7)


async def test_r5_r7_r10_b15_a_javascript_program_runs_with_node(hub: MakeHub, small_image: str) -> None:
    around = hub(main_file="main.js", parameters=PARAMETERS, docker_image=small_image)
    put(around, "main.js", NODE)

    assert await run(around) == ('node with ["--mode","production","two words","$(id)",";rm"] for Temis\n', 7)

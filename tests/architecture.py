"""Who may import whom: the table that ``test_architecture`` holds the code against."""

#: Package → the project's packages that it may import, itself aside.
DIRECTION: dict[str, frozenset[str]] = {
    "schemas": frozenset(),
    "bus": frozenset({"schemas"}),
    "runner": frozenset({"schemas", "bus"}),
    "gateway": frozenset({"schemas", "bus"}),
    "hub": frozenset({"schemas", "bus", "runner", "gateway"}),
}

#: Foreign module → prefixes of the modules that alone may import it.
RESERVED: dict[str, tuple[str, ...]] = {
    "aio_pika": ("bus.rabbitmq",),
    "aiormq": ("bus.rabbitmq",),
    "aiodocker": ("runner.docker_",),
    "aiohttp.web": ("gateway",),
    "jwt": ("gateway",),
    # Compose files are YAML, and docker-compose 1 answers in it; both are read in one place, which trusts nobody.
    "yaml": ("hub.config", "runner.compose_yaml"),
    "argon2": ("hub.accounts",),
}

"""The labels on every container of ours: who made it and what for."""

PREFIX = "io.pyexecutorhub."

MANAGED = f"{PREFIX}managed"
INSTANCE = f"{PREFIX}instance"
RUNNER_ID = f"{PREFIX}runner-id"
EXECUTION_ID = f"{PREFIX}execution-id"
ATTEMPT = f"{PREFIX}attempt"
#: Identity of the journal that holds the claim.
EPOCH = f"{PREFIX}epoch"
PROGRAM_ID = f"{PREFIX}program-id"
#: ISO 8601, UTC: when the program must have ended, by the limit it was given when the container was made.
DEADLINE = f"{PREFIX}deadline"
#: The image as config.yaml names it: the container itself may use one that was made from it.
IMAGE = f"{PREFIX}image"
#: The Compose project that a container, network or volume belongs to; none on the container of an ordinary program.
COMPOSE_PROJECT = f"{PREFIX}compose-project"
#: On a container that was made before anybody had a job for it: its name says whose it is by now.
WARM = f"{PREFIX}warm"
#: On an image that was built for a Compose program: the id of that program.
BUILT_FOR = f"{PREFIX}built-for"
#: On a container that is none of a program's, but has a network ready for one.
NETWORK_SANDBOX = f"{PREFIX}network-sandbox"

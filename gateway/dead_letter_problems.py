"""Problems of dead letters."""

from gateway.problems import Problem


def dead_letter_not_found() -> Problem:
    """No dead letter has this id, or not any more."""
    return Problem(status=404, slug="dead-letter-not-found", title="No such dead letter", detail="Dead letter not found")


def not_redrivable(why: str) -> Problem:
    """As it is, it would be a dead letter again."""
    return Problem(
        status=422,
        slug="not-redrivable",
        title="The dead letter can't be run as it is",
        detail=f"It would be a dead letter again: {why}. Send a body that asks for what was meant.",
    )

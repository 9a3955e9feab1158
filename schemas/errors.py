"""The errors of this package: something that was handed in does not have the shape it must have."""


class SchemaError(ValueError):
    """A value does not have the shape that the hub understands."""


class BadQuantity(SchemaError):
    """A size, a duration or a share of a processor is not written in a way the hub understands."""


class MalformedCommand(SchemaError):
    """A message on the command exchange can't be understood as a command; its text says why and what to send instead."""


class MalformedEvent(SchemaError):
    """A record can't be understood as an event of an execution."""


class MalformedQuestion(SchemaError):
    """A message can't be understood as a question to a runner."""


class MalformedAnswer(SchemaError):
    """A message can't be understood as an answer to what was asked."""


class MalformedRecord(SchemaError):
    """A record of the state stream can't be understood."""

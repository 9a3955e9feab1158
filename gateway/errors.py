"""The errors of the gateway."""

from gateway.problems import Problem


class GatewayError(Exception):
    """The gateway can't do what it was asked to."""


class CannotListen(GatewayError):
    """The address to listen on can't be had; the cause is chained."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"can't listen on {host}:{port}: {why}")
        self.host = host
        self.port = port


class BadSigningKey(GatewayError):
    """The key that signs tokens is too short to be safe."""


class InvalidToken(GatewayError):
    """A token was not issued here, was altered, or has expired."""


class TokensUnavailable(GatewayError):
    """Long-lived tokens can't be judged yet; trying again soon is right."""


class TooManyTokens(GatewayError):
    """As many long-lived tokens hold as may."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} tokens hold already")
        self.most = most


class ViewUnavailable(GatewayError):
    """The view can't be read now; trying again later is right."""


class FleetBusy(GatewayError):
    """So many questions to the runners wait for their answers that no more are asked."""


class OverlayFull(GatewayError):
    """So many accepted executions are not in the view yet that no more can be kept in memory."""


class Refused(GatewayError):
    """A request is answered with a problem instead of what it asked for."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem

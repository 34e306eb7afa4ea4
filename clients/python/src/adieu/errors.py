"""What can go wrong, by what a caller can do about it."""


class AdieuError(Exception):
    """Any of the errors below. None contains a token, an id of one, or the secret."""


class StaleError(AdieuError):
    """Whether the token is revoked can't be known, because nothing was heard of the node for too long.

    A request that meets it is best answered 503 with ``Retry-After: 1``.
    """


class UnavailableError(AdieuError):
    """The node did not answer, or could not do it. Nothing is promised: try again, which does no harm."""


class RefusedError(AdieuError):
    """The node answered that it will not: wrong credentials, a missing capability, or input that it does not take.

    Trying again does not help.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class InvalidClaimsError(AdieuError, TypeError):
    """The payload is none that can be judged: a claim has the wrong type, or there is no ``exp``.

    The node rejects such a token. A request that meets it is best answered 401.
    """

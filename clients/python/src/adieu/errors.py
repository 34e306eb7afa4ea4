"""The errors, grouped by what the caller can do."""


class AdieuError(Exception):
    """The base of the errors below. None contains a token, the id of a token, or the secret."""


class StaleError(AdieuError):
    """The client cannot know whether the token is revoked, because it had no news from the node for too long.

    Answer the request with 503 and ``Retry-After: 1``.
    """


class TokenError(AdieuError):
    """A token is not accepted. Answer the request with 401.

    `code` is ``authorization_required`` (there is no token), ``token_expired``, ``token_not_yet_valid``,
    ``token_revoked``, or ``invalid_token`` for everything else.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class UnavailableError(AdieuError):
    """The node did not answer, or could not write. The revocation may not be durable; it is safe to repeat the call."""


class RefusedError(AdieuError):
    """The node rejected the request: wrong credentials, a missing capability, or invalid input.

    Repeating the call does not help.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class InvalidClaimsError(AdieuError, TypeError):
    """The payload is invalid: a claim has the wrong type, or ``exp`` is missing.

    The node rejects such a token. Answer the request with 401.
    """

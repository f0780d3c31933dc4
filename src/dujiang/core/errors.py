"""Every error that Dujiang answers with.

AppError                     status  code                      retryable  hurts_breaker
├ InvalidRequest              400    invalid_request
├ Unauthenticated             401    unauthenticated
├ BudgetExceeded              402    budget_exceeded
├ Forbidden                   403    forbidden
├ NotFound                    404    not_found
├ MethodNotAllowed            405    method_not_allowed
├ Conflict                    409    conflict
├ BodyTooLarge                413    body_too_large
├ PreconditionRequired        428    precondition_required
├ Unprocessable               422    unprocessable
├ LimitExceeded               429    limit_exceeded            (rate | tokens | concurrency | queue)
│ └ Saturated                 429    limit_exceeded            (queue)
├ NotBuilt                    501    not_implemented
├ OutputInvalid               502    output_invalid
├ Misconfigured               503    misconfigured
├ ShuttingDown                503    shutting_down
└ UpstreamError               502    upstream_error            yes        yes
  ├ Rejected                  400    upstream_rejected
  │ ├ TooLong                 400    context_length_exceeded
  │ └ ContentFiltered         400    content_filtered
  ├ Throttled                 429    upstream_throttled        yes                      (never hurts the breaker)
  ├ OutOfQuota                502    upstream_out_of_quota     yes
  ├ BadCredential             502    upstream_bad_credential   yes
  ├ NoSuchDeployment          502    upstream_model_missing    yes
  ├ Unavailable               503    upstream_unavailable      yes        yes
  │ └ StaleConnection         503    upstream_unavailable      yes                      (resend at once)
  ├ Timeout                   504    upstream_timeout          yes        yes
  └ StreamBroken              502    upstream_stream_broken               yes

The facts are class attributes: nobody branches on status numbers. Retryable means "another target may succeed". What is
not an AppError is a bug: it is logged with its trace and answered as a bare 500.
"""

from typing import Any

from dujiang.core.chat import Usage
from dujiang.core.limits import Refusal


class AppError(Exception):
    """An answer that is an error. `message` is one plain sentence that says what to do next, without any secret.

    `spent` is what models had used for the call by then, where an answer came and could not be taken.
    """

    status = 500
    code = "error"
    retryable = False
    hurts_breaker = False
    spent: Usage | None = None

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.param = param
        self.retry_after_s = retry_after_s

    def details(self) -> dict[str, Any]:
        """What more the answer tells, beside what every error has."""
        return {}


class InvalidRequest(AppError):
    status = 400
    code = "invalid_request"


class Unauthenticated(AppError):
    status = 401
    code = "unauthenticated"


class BudgetExceeded(AppError):
    """`budget` tells which, and how it stands."""

    status = 402
    code = "budget_exceeded"
    budget: dict[str, Any] | None = None

    def details(self) -> dict[str, Any]:
        return {} if self.budget is None else {"budget": self.budget}


class Forbidden(AppError):
    status = 403
    code = "forbidden"


class NotFound(AppError):
    status = 404
    code = "not_found"


class MethodNotAllowed(AppError):
    status = 405
    code = "method_not_allowed"


class Conflict(AppError):
    status = 409
    code = "conflict"


class BodyTooLarge(AppError):
    status = 413
    code = "body_too_large"


class PreconditionRequired(AppError):
    """A write that does not say which revision it changes."""

    status = 428
    code = "precondition_required"


class Unprocessable(AppError):
    status = 422
    code = "unprocessable"


class LimitExceeded(AppError):
    """`refusal` tells of the counter that a call did not pass, where it was one."""

    status = 429
    code = "limit_exceeded"
    refusal: Refusal | None = None

    def details(self) -> dict[str, Any]:
        refusal = self.refusal
        if refusal is None:
            return {}
        return {
            "limit": {
                "name": refusal.name,
                "subject": refusal.bound.subject,
                "limit": refusal.limit,
                "remaining": refusal.remaining,
            }
        }


class Saturated(LimitExceeded):
    """All places at a model are taken, and waiting for one would be in vain."""


class NotBuilt(AppError):
    """A declared part of the contract that this release does not have yet; the message names it."""

    status = 501
    code = "not_implemented"


class OutputInvalid(AppError):
    """A model answered, and not as the scene's `output_schema` demands, even when it was told why."""

    status = 502
    code = "output_invalid"


class Misconfigured(AppError):
    status = 503
    code = "misconfigured"


class ShuttingDown(AppError):
    status = 503
    code = "shutting_down"


class UpstreamError(AppError):
    """A model's service failed. `raw` is the vendor's own code or text, for the record only."""

    status = 502
    code = "upstream_error"
    retryable = True
    hurts_breaker = True
    raw: str | None = None


class Rejected(UpstreamError):
    status = 400
    code = "upstream_rejected"
    retryable = False
    hurts_breaker = False


class TooLong(Rejected):
    code = "context_length_exceeded"


class ContentFiltered(Rejected):
    code = "content_filtered"


class Throttled(UpstreamError):
    status = 429
    code = "upstream_throttled"
    hurts_breaker = False


class OutOfQuota(UpstreamError):
    code = "upstream_out_of_quota"
    hurts_breaker = False


class BadCredential(UpstreamError):
    code = "upstream_bad_credential"
    hurts_breaker = False


class NoSuchDeployment(UpstreamError):
    code = "upstream_model_missing"
    hurts_breaker = False


class Unavailable(UpstreamError):
    status = 503
    code = "upstream_unavailable"


class StaleConnection(Unavailable):
    """An idle connection turned out to be closed before any byte of an answer: resending is safe."""

    hurts_breaker = False


class Timeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class StreamBroken(UpstreamError):
    code = "upstream_stream_broken"
    retryable = False

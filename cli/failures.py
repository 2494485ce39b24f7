"""One sentence for each way in which a cluster can't be asked, and the exit status. Pure."""

import re

from unigpu import errors
from unigpu_kube import errors as kube_errors

REFUSED, UNREACHABLE = 1, 2
_DENIED = "denied the request: "
_REQUEST = re.compile(r"^API server doesn't answer \S+ \S+: ")
_ADDRESS = re.compile(r"Cannot connect to host (\S+?) ssl:\S+ \[(.*)\]")


def sentence(error: errors.UnigpuError) -> str:
    """Return the sentence for standard error: what happened, and what to do where that is known."""
    match error:
        case kube_errors.Rejected(status=401):
            return (
                "error: the cluster doesn't accept your credentials, or they have expired: log in again, or name "
                "another context with --context"
            )
        case kube_errors.Rejected(status=403) if _DENIED not in error.message:
            return f"error: you don't have the right to do this: {error.message}"
        case kube_errors.Missing():
            return f"error: {error.message}"
        case kube_errors.Rejected():
            return f"refused: {refusal(error.message)}"
        case kube_errors.ServerError():
            return f"error: the cluster can't answer now: {error}"
        case errors.Unavailable():
            return f"error: {_reason(str(error))}"
        case errors.Denied() | errors.Malformed():
            return f"refused: {error}"
        case _:
            return f"error: {error}"


def status(error: errors.UnigpuError) -> int:
    """Return the exit status: 2 where no cluster answers or it doesn't know the caller, else 1."""
    unknown = isinstance(error, kube_errors.Rejected) and error.status == 401
    return UNREACHABLE if unknown or isinstance(error, errors.Unavailable) else REFUSED


def forbidden(error: Exception) -> bool:
    """Return whether the API server knows the caller and refuses the request for lack of rights."""
    return isinstance(error, kube_errors.Rejected) and error.status == 403


def refusal(message: str) -> str:
    """Return unigpu's own words from the API server's answer."""
    return message.partition(_DENIED)[2] or message


def _reason(text: str) -> str:
    if text.startswith(("no cluster to ask", "Prometheus")):
        return text
    reason = _REQUEST.sub("", text)
    found = _ADDRESS.search(reason)
    if found:
        return f"no cluster answers at {found[1]}: {found[2]}; is it the right context (--context), and is it up?"
    if reason == "TimeoutError":
        return "the cluster doesn't answer in time: try again, or choose another one with --context"
    return f"the cluster doesn't answer: {reason}"

"""A namespace's rules for the containers in it, from its annotations: defaults, maxima, isolation. Pure."""

import dataclasses
from collections.abc import Callable, Mapping

from unigpu import names, quantities
from unigpu.findings import Problem, Remark
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent
from webhook.translation import near_misses
from webhook.translation.options import Options, Rules

LABELS = {("hami.io/webhook", "ignore"): names.DIALECT_HAMI}
"""Label and value of a namespace → the dialect that is then not read there."""
_ISOLATION = {"required": False, "optional": True}


def apply(options: Options, annotations: Mapping[str, str], labels: Mapping[str, str] | None = None) -> Options:
    """Return the options for pods of a namespace with these annotations and labels."""
    warnings: list[str] = []

    def number(annotation: str, read: Callable[[str], int], accepted: str, high: int | None = None) -> int:
        text = annotations.get(annotation)
        if text is None:
            return 0
        try:
            value = read(text)
        except ValueError:
            value = 0
        if value < 1 or (high is not None and value > high):
            warnings.append(str(Remark("namespace", f"annotation {annotation}", text, "has no effect", accepted)))
            return 0
        return value

    def mebibytes(text: str) -> int:
        return quantities.amount(text, MiB(1))

    percent, memory = "a whole number from 1 to 100", "a whole number of MiB, or a quantity such as 4Gi"
    rules = Rules(
        default_memory=MiB(number(names.ANNOTATION_DEFAULT_MEMORY, mebibytes, memory)),
        default_cores=Percent(number(names.ANNOTATION_DEFAULT_CORES, quantities.count, percent, 100)),
        max_gpus=number(names.ANNOTATION_MAX_GPUS, quantities.count, "a whole number above 0"),
        max_memory=MiB(number(names.ANNOTATION_MAX_MEMORY, mebibytes, memory)),
        max_cores=Percent(number(names.ANNOTATION_MAX_CORES, quantities.count, percent, 100)),
    )
    warnings += near_misses.of_namespace(annotations, labels or {})
    isolation = annotations.get(names.ANNOTATION_ISOLATION)
    opting_out = options.opting_out if isolation is None else _ISOLATION.get(isolation)
    if opting_out is None:
        why = "unknown value; it counts as required"
        field = f"annotation {names.ANNOTATION_ISOLATION}"
        warnings.append(str(Remark("namespace", field, isolation or "", why, "required or optional")))
    return dataclasses.replace(
        options,
        rules=dataclasses.replace(rules, warnings=tuple(warnings)),
        opting_out=bool(opting_out),
        ignored_dialects=frozenset(
            dialect for (label, value), dialect in LABELS.items() if (labels or {}).get(label) == value
        ),
    )


def with_defaults(request: Request, rules: Rules, *, count_only: bool) -> Request:
    """Return the request with the namespace's defaults; `count_only`: it names a number of GPUs and no more."""
    if count_only and rules.default_memory:
        cores = rules.default_cores
        request = dataclasses.replace(
            request,
            whole=False,
            memory=rules.default_memory,
            cores=cores,
            policy=ComputePolicy.HARD if cores else ComputePolicy.UNLIMITED,
        )
    elif rules.default_cores and not request.whole and not request.cores:
        request = dataclasses.replace(request, cores=rules.default_cores, policy=ComputePolicy.HARD)
    return request


def problems(container: str, request: Request, rules: Rules) -> list[Problem]:
    """Return where the request is larger than the namespace allows."""
    found = []

    def refuse(field: str, value: str, accepted: str) -> None:
        found.append(Problem(container, field, value, "exceeds this namespace's maximum", accepted))

    if rules.max_gpus and request.gpus > rules.max_gpus:
        refuse("GPUs", str(request.gpus), f"up to {rules.max_gpus}")
    if rules.max_memory and (not request.memory or request.memory > rules.max_memory):
        shown = f"{request.memory} MiB" if request.memory else _memory(request)
        refuse("memory", shown, f"up to {rules.max_memory} MiB on each GPU")
    if rules.max_cores:
        throttled = request.policy is not ComputePolicy.UNLIMITED
        cores = 100 if request.whole else request.cores * throttled
        if not cores or cores > rules.max_cores:
            shown = f"{cores} %" if cores else "unlimited"
            refuse("cores", shown, f"up to {rules.max_cores} % of each GPU")
    return found


def _memory(request: Request) -> str:
    if request.whole:
        return "a whole GPU"
    return f"{request.memory_percent} % of a GPU" if request.memory_percent else "unlimited"

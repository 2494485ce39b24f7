"""Filter, prioritize and bind over real sockets, with the books following a real list and watch."""

import asyncio
import functools
from pathlib import Path

from tests.integration.scheduler import extender
from tests.integration.scheduler.apiserver import ApiServer, Json
from tests.integration.scheduler.extender import asking, inventory, until
from unigpu import cordons, names
from unigpu.cordons import Cordon
from unigpu.units import GpuUuid

PODS = names.METRIC_SCHEDULER_PODS
ASSUMED = names.METRIC_SCHEDULER_ASSUMED
CORDONED = names.ANNOTATION_CORDONED
ENDED = [{"name": "main", "state": {"terminated": {"exitCode": 0}}}]


async def test_a_pod_is_placed_and_bound_in_one_write(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1"))
    async with extender.inside(api, tmp_path) as caller:
        pod = await api.add_pod("p", asking(memory=8192, cores=30))
        found = await caller.filter(pod, ["n1"])
        assert found["NodeNames"] == ["n1"]
        assert await caller.bind(pod, "n1") == ""
        bound = api.pod("p")
        assert bound["spec"]["nodeName"] == "n1"
        given = extender.allocation(bound)
        assert given is not None
        assert given.node == "n1"
        (share,) = given.containers["main"]
        assert (share.gpu, share.memory, share.cores) == ("GPU-n1-0", 8192, 30)
        assert api.bindings[0]["metadata"]["uid"] == pod["metadata"]["uid"]
        await caller.until(ASSUMED, 0)
        assert await caller.metric(PODS) == 1


async def test_reasons_are_counted(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 2))
    await api.add_node("n2", inventory("n2", 1))
    await api.add_node("plain")
    async with extender.inside(api, tmp_path) as caller:
        whole = await api.add_pod("whole", asking(whole=True))
        assert await caller.bind(whole, "n1") == ""
        pod = await api.add_pod("p", asking(gpus=2, memory=8192))
        found = await caller.filter(pod, ["n1", "n2", "plain", "unknown"])
        wish = "container main needs 2 GPUs with 8192 MiB free on each"
        assert found["NodeNames"] == []
        assert found["FailedAndUnresolvableNodes"] == {
            "n1": f"{wish}: only 1 of 2 fits, 1 of 2 allocated whole",
            "n2": f"{wish}: node has 1",
            "plain": "node has no GPUs reported by the node agent",
            "unknown": "node has no GPUs reported by the node agent",
        }


async def test_a_pod_that_slipped_past_the_webhook_is_refused_with_the_reason(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1"))
    async with extender.inside(api, tmp_path) as caller:
        pod = await api.add_pod("p")
        found = await caller.filter(pod, ["n1"])
        assert found["NodeNames"] == []
        assert names.ANNOTATION_REQUEST in found["FailedAndUnresolvableNodes"]["n1"]
        assert "webhook" in found["FailedAndUnresolvableNodes"]["n1"]
        assert names.ANNOTATION_REQUEST in await caller.bind(pod, "n1")
        assert api.bindings == []


async def test_a_gang_is_bound_side_by_side_without_waiting_for_the_watch(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1"))
    async with extender.inside(api, tmp_path) as caller:
        pods = [await api.add_pod(f"p{number}", asking(memory=3000)) for number in range(32)]
        api.show_events.clear()
        api.hold_answers.clear()
        binds = [asyncio.create_task(caller.bind(pod, "n1")) for pod in pods]
        await until(lambda: len(api.bindings) == 32, "all bindings to be sent before the first is answered")
        api.hold_answers.set()
        assert await asyncio.gather(*binds) == [""] * 32
        assert extender.taken(api) == {f"GPU-n1-{number}": 24000 for number in range(4)}
        assert await caller.metric(ASSUMED) == 32
        one_more = await api.add_pod("more", asking(memory=3000))
        assert (await caller.filter(one_more, ["n1"]))["NodeNames"] == []
        assert "too little free memory" in await caller.bind(one_more, "n1")
        api.show_events.set()
        await caller.until(ASSUMED, 0)


async def test_shares_return_when_pods_end(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        for number, how in enumerate(("finished", "removed", "terminated")):
            pod = await api.add_pod(f"p{number}", asking(memory=20000))
            assert await caller.bind(pod, "n1") == ""
            waiting = await api.add_pod(f"w{number}", asking(memory=20000))
            assert (await caller.filter(waiting, ["n1"]))["NodeNames"] == []
            key = f"default/p{number}"
            if how == "finished":
                await api.change("pods", key, lambda pod: pod["status"].update(phase="Succeeded"))
            elif how == "removed":
                await api.remove("pods", key)
            else:
                await api.change(
                    "pods", key, lambda pod: pod["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z")
                )
                await caller.until(ASSUMED, 0)
                assert (await caller.filter(waiting, ["n1"]))["NodeNames"] == [], "it may still run"
                await api.change("pods", key, lambda pod: pod["status"].update(containerStatuses=ENDED))
            await caller.until(PODS, 0)
            assert (await caller.filter(waiting, ["n1"]))["NodeNames"] == ["n1"]


async def test_binpack_and_spread_among_nodes(api: ApiServer, tmp_path: Path) -> None:
    for name in ("n1", "n2", "n3"):
        await api.add_node(name, inventory(name))
    async with extender.inside(api, tmp_path) as caller:
        for name, memory in (("n1", 2000), ("n2", 4000)):
            pod = await api.add_pod(f"on-{name}", asking(memory=memory))
            assert await caller.bind(pod, name) == ""
        pod = await api.add_pod("p", asking(memory=1000))
        assert await caller.prioritize(pod, ["n1", "n2", "n3"]) == {"n1": 1, "n2": 2}
        annotations = asking(memory=1000)
        annotations[names.ANNOTATION_REQUEST] = annotations[names.ANNOTATION_REQUEST].replace(
            '"version":1', '"preferences":{"node_policy":"spread"},"version":1'
        )
        pod = await api.add_pod("q", annotations)
        assert await caller.prioritize(pod, ["n1", "n2", "n3"]) == {"n1": 5, "n3": 10}


async def test_victims_that_die_for_nothing_are_spared(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 2))
    await api.add_node("n2", inventory("n2", 2))
    async with extender.inside(api, tmp_path) as caller:
        victims: dict[str, Json] = {}
        for name in ("n1", "n2"):
            for number in range(2):
                pod = await api.add_pod(f"{name}-{number}", asking(memory=20000), priority=5)
                assert await caller.bind(pod, name) == ""
                victims[f"{name}-{number}"] = {"UID": pod["metadata"]["uid"]}
        pod = await api.add_pod("p", asking(gpus=2, memory=10000), priority=5)
        offered = {
            "n1": {"Pods": [victims["n1-0"]], "NumPDBViolations": 0},
            "n2": {"Pods": [victims["n2-0"], victims["n2-1"]], "NumPDBViolations": 1},
        }
        assert await caller.preempt(pod, offered) == {"n2": offered["n2"]}
        await caller.until(ASSUMED, 0)
        pod["spec"]["priority"] = 6
        kept = await caller.preempt(pod, offered)
        assert kept["n1"] == {"Pods": [victims["n1-0"], victims["n1-1"]], "NumPDBViolations": 0}


async def test_fewer_victims_and_none_that_a_budget_protects(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 3))
    await api.add_budget("web", {"app": "web"}, 0)
    async with extender.inside(api, tmp_path) as caller:
        uids: dict[str, str] = {}
        for name, memory in (("half", 12288), ("other-half", 12288), ("web", 20000), ("batch", 18000)):
            pod = await api.add_pod(name, asking(memory=memory), priority=1)
            await api.change("pods", f"default/{name}", functools.partial(_label, name))
            assert await caller.bind(pod, "n1") == ""
            uids[name] = pod["metadata"]["uid"]
        await caller.until(ASSUMED, 0)
        await until(lambda: api.watches == 3, "budgets to be read")
        whole = await api.add_pod("whole", asking(whole=True), priority=5)

        async def answer(*names_: str, violations: int = 0) -> Json:
            offered = {"Pods": [{"UID": uids[name]} for name in names_], "NumPDBViolations": violations}
            found: Json = (await caller.preempt(whole, {"n1": offered}))["n1"]
            return found

        batch = {"Pods": [{"UID": uids["batch"]}], "NumPDBViolations": 0}
        assert await answer("half", "other-half") == batch
        assert await answer("web", violations=1) == batch


def _label(app: str, pod: Json) -> None:
    pod["metadata"]["labels"] = {"app": app}


async def test_node_changes_are_followed(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1), {"ack.node.gpu.schedule": "default"})
    async with extender.inside(api, tmp_path) as caller:
        pod = await api.add_pod("p", asking(memory=1000))
        found = await caller.filter(pod, ["n1"])
        assert found["FailedAndUnresolvableNodes"]["n1"].startswith("container main: node offers whole GPUs only")

        async def takes(expected: bool) -> None:
            async def same() -> bool:
                return ((await caller.filter(pod, ["n1"]))["NodeNames"] == ["n1"]) is expected

            await until(same, f"the node to take the pod: {expected}")

        await api.change("nodes", "n1", lambda node: node["metadata"]["labels"].clear())
        await takes(True)
        broken = {names.ANNOTATION_INVENTORY: "{}"}
        await api.change("nodes", "n1", lambda node: node["metadata"]["annotations"].update(broken))
        await takes(False)
        await api.change("nodes", "n1", lambda node: node["metadata"]["annotations"].update(inventory("n1", 1)))
        await takes(True)
        await api.remove("nodes", "n1")
        await takes(False)


async def test_a_cordoned_gpu_keeps_its_pods_and_gets_no_others(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        first = await api.add_pod("first", asking(memory=1000))
        assert (await caller.filter(first, ["n1"]))["NodeNames"] == ["n1"]
        assert await caller.bind(first, "n1") == ""
        uuid = GpuUuid("GPU-n1-0")
        text = cordons.dump({uuid: Cordon("fans", "2026-01-31T12:00:00Z")})
        await api.change("nodes", "n1", lambda node: node["metadata"]["annotations"].update({CORDONED: text}))
        await caller.until(names.METRIC_SCHEDULER_CORDONED, 1)
        second = await api.add_pod("second", asking(memory=1000))
        found = await caller.filter(second, ["n1"])
        assert found["FailedAndUnresolvableNodes"]["n1"].endswith("1 of 1 cordoned")
        assert "1 of 1 cordoned" in await caller.bind(second, "n1")
        assert extender.taken(api) == {uuid: 1000}
        await api.change("nodes", "n1", lambda node: node["metadata"]["annotations"].pop(CORDONED))
        await caller.until(names.METRIC_SCHEDULER_CORDONED, 0)
        assert await caller.bind(second, "n1") == ""


async def test_answers_to_what_is_no_question_of_a_scheduler(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1"))
    async with extender.inside(api, tmp_path) as caller:
        for verb in ("filter", "prioritize", "preempt", "bind"):
            for body in (b"", b"{", b"[]", b"{}", b"null", b'{"Pod": 1, "NodeNames": ["n1"]}', b'"x"'):
                assert await caller.raw(verb, body) == 400, (verb, body)
        assert (await caller.get("/healthz"))[0] == 200
        pod = await api.add_pod("p", asking(memory=1000))
        missing = dict(pod, metadata=dict(pod["metadata"], uid="another"))
        assert "no pod default/p with UID another" in await caller.bind(missing, "n1")
        assert "nodeCacheCapable" in (await caller._post("filter", {"Pod": pod, "NodeNames": None}))["Error"]


async def test_the_books_follow_limits_that_change(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        assert await caller.bind(await api.add_pod("old", asking(memory=8192)), "n1") == ""
        new = await api.add_pod("new", asking(memory=20000))

        async def limited(fits: bool, **annotations: str) -> None:
            """Change the old pod's limits, and wait for what that means for the new one."""
            written = {f"{names.DOMAIN}/{name.replace('_', '-')}": text for name, text in annotations.items()}
            await api.change("pods", "default/old", lambda pod: pod["metadata"]["annotations"].update(written))

            async def followed() -> bool:
                return bool((await caller.filter(new, ["n1"]))["NodeNames"]) is fits

            await until(followed, f"the new pod to fit: {fits}")

        await limited(True, limits="memory=2Gi", limits_applied='{"main":{"memory":2048}}')
        await limited(False, limits_applied='{"main":{"held":{"GPU-n1-0":8192},"memory":2048}}')
        await limited(True, limits_applied='{"main":{"memory":2048}}')
        await limited(False, limits="memory=6Gi")
        await limited(True, limits="memory=4Gi")
        await limited(False, limits="")
        await limited(True, limits="memory=1Gi")
        assert await caller.bind(new, "n1") == ""
        assert await caller.metric(names.METRIC_SCHEDULER_OVERBOOKED) == 0

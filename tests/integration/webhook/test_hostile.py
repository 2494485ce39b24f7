"""Hostile reviews over TLS against the service as a process; `make check-hostile` sends 100,000."""

from bench import webhook, webhook_soak

LONG = max(webhook_soak.FRAMES, key=len)


def test_hostile_reviews_are_answered_cleanly_and_the_service_stays_up() -> None:
    told: list[str] = []
    result = webhook_soak.soak(1_200, 7, told.append)
    assert not result.seen.wrong, result.seen.wrong[0]
    kinds = {name for name, _ in result.seen.answers}
    assert kinds >= set(webhook_soak.KINDS) - {"heavy"} | {"framing"}
    assert result.seen.answers.total() == 1_200
    assert result.good == 200
    assert result.highest_memory < webhook_soak.MEMORY_KIB


def test_refused_requests_leave_nothing_in_memory() -> None:
    with webhook.running() as (port, authority, pid):

        def refuse(times: int) -> int:
            for _ in range(times):
                assert webhook_soak.framed(port, authority, LONG) in webhook_soak.FRAMED
            return webhook_soak.memory(pid, "VmRSS")

        before, after = refuse(50), refuse(350)
    assert after - before < 20 * 1024, f"{(after - before) // 350} KiB remain of each of them"

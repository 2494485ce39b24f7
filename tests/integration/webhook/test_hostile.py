"""Hostile reviews over TLS against the service as a process; `make check-hostile` sends 100,000."""

from bench import webhook_soak


def test_hostile_reviews_are_answered_cleanly_and_the_service_stays_up() -> None:
    told: list[str] = []
    result = webhook_soak.soak(1_200, 7, told.append)
    assert not result.seen.wrong, result.seen.wrong[0]
    kinds = {name for name, _ in result.seen.answers}
    assert kinds >= set(webhook_soak.KINDS) - {"heavy"} | {"framing"}
    assert result.seen.answers.total() == 1_200
    assert result.good == 200
    assert result.highest_memory < webhook_soak.MEMORY_KIB

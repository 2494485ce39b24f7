"""When which certificate is in force, with time passed in."""

import dataclasses
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from unigpu import errors
from webhook.tls import certificates
from webhook.tls.certificates import State, Terms
from webhook.tls.serving_cert import ServingCertificate

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TERMS = Terms(certificates.hosts("webhook", "ns"), 90 * DAY)


def first() -> State:
    return certificates.step(None, TERMS, NOW, trusted=())


def test_nothing_changes_while_the_certificate_is_young() -> None:
    state = first()
    assert certificates.step(state, TERMS, NOW + 59 * DAY, trusted=[state.current.authority]) == state


def test_a_renewal_keeps_the_current_certificate_until_the_next_is_trusted() -> None:
    state = first()
    made = certificates.step(state, TERMS, NOW + 60 * DAY, trusted=[state.current.authority])
    assert made.current == state.current
    assert made.next is not None
    assert made.next.authority in made.bundle and made.current.authority in made.bundle
    unseen = certificates.step(made, TERMS, NOW + 61 * DAY, trusted=[state.current.authority])
    assert unseen == made
    both = [made.current.authority, made.next.authority]
    published = certificates.step(made, TERMS, NOW + 61 * DAY, trusted=both)
    assert published == dataclasses.replace(made, published=NOW + 61 * DAY)
    early = certificates.step(published, TERMS, NOW + 61 * DAY + timedelta(seconds=59), trusted=both)
    assert early == published
    promoted = certificates.step(published, TERMS, NOW + 61 * DAY + timedelta(seconds=60), trusted=both)
    assert promoted == State(made.next, retired=(made.current.authority,))
    assert made.current.authority in promoted.bundle


def test_an_old_authority_goes_when_it_has_expired() -> None:
    state = first()
    later = dataclasses.replace(first(), retired=(state.current.authority,))
    assert certificates.step(later, TERMS, NOW + DAY, trusted=()).retired == (state.current.authority,)
    fresh = dataclasses.replace(certificates.step(None, TERMS, NOW + 50 * DAY, trusted=()), retired=later.retired)
    assert certificates.step(fresh, TERMS, NOW + 91 * DAY, trusted=()).retired == ()


def test_a_certificate_that_has_expired_is_replaced_at_once() -> None:
    state = certificates.step(first(), TERMS, NOW + 91 * DAY, trusted=())
    assert state.current.expires > NOW + 91 * DAY
    assert state.retired == ()


def test_a_certificate_for_other_names_is_replaced_at_once() -> None:
    other = Terms(certificates.hosts("webhook", "elsewhere"), 90 * DAY)
    state = first()
    moved = certificates.step(state, other, NOW, trusted=())
    assert moved.current.hosts == other.hosts
    assert moved.retired == (state.current.authority,)


def test_shorter_terms_are_kept_to_at_once() -> None:
    brief = Terms(TERMS.hosts, timedelta(seconds=15))
    assert certificates.step(first(), brief, NOW, trusted=()).next is not None


def test_a_lost_secret_leaves_what_is_trusted() -> None:
    lost = first().current.authority
    state = certificates.step(None, TERMS, NOW, trusted=[lost, "no certificate"])
    assert state.retired == (lost,)


def test_the_secret_holds_everything() -> None:
    state = State(first().current, first().current, NOW, (first().current.authority, first().current.authority))
    assert certificates.from_secret(certificates.to_secret(state)) == state
    assert certificates.from_secret(certificates.to_secret(first())).next is None


@pytest.mark.parametrize("spoil", ["tls.key", "tls.crt", "ca.crt"])
def test_a_spoilt_secret_is_told(spoil: str) -> None:
    data = certificates.to_secret(first())
    with pytest.raises(errors.Malformed):
        certificates.from_secret(data | {spoil: "eA=="})
    with pytest.raises(errors.Malformed):
        certificates.from_secret(data | {spoil: certificates.to_secret(first())[spoil]})
    with pytest.raises(errors.Malformed):
        certificates.from_secret({name: value for name, value in data.items() if name != spoil})


def test_common_authorities() -> None:
    one, two = first().current.authority, first().current.authority
    assert certificates.common([one + two, two]) == (two,)
    assert certificates.common([one, ""]) == ()
    assert certificates.common([]) == ()


def handshake(identity: ServingCertificate, trusted: str, host: str) -> None:
    """A TLS handshake in memory."""
    client = ssl.create_default_context(cadata=trusted)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        identity.context.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue


def load(identity: ServingCertificate, generation: certificates.Generation) -> bool:
    return identity.load(generation.certificate, generation.key, generation.expires)


@pytest.mark.parametrize("host", TERMS.hosts)
def test_clients_accept_the_certificate(host: str) -> None:
    identity, generation = ServingCertificate(), certificates.make(TERMS, datetime.now(UTC))
    assert load(identity, generation)
    handshake(identity, generation.authority, host)


def test_clients_refuse_another_name_or_authority() -> None:
    identity, generation = ServingCertificate(), certificates.make(TERMS, datetime.now(UTC))
    load(identity, generation)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(identity, generation.authority, "webhook.other.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(identity, certificates.make(TERMS, datetime.now(UTC)).authority, TERMS.hosts[0])


def test_a_certificate_is_exchanged_in_place() -> None:
    identity, old, new = ServingCertificate(), *(certificates.make(TERMS, datetime.now(UTC)) for _ in range(2))
    assert load(identity, old) and load(identity, new)
    assert not load(identity, new)
    handshake(identity, new.authority, TERMS.hosts[0])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(identity, old.authority, TERMS.hosts[0])


def test_validity_is_by_the_clock() -> None:
    identity = ServingCertificate()
    assert not identity.valid()
    load(identity, first().current)
    assert identity.valid(NOW) and not identity.valid(NOW + 91 * DAY)

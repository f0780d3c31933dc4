"""What each error means agrees with what its class says, and with the table of the field's error classes."""

import inspect

import pytest

from dujiang.core import errors
from dujiang.core.errors import AppError, UpstreamError
from dujiang.resilience.verdict import VERDICTS, Verdict, verdict

KINDS = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, AppError)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_agrees_with_the_class(kind):
    found = verdict(kind("no"))
    assert (found.elsewhere, found.hurts_breaker) == (kind.retryable, kind.hurts_breaker)


@pytest.mark.parametrize("kind", [each for each in KINDS if issubclass(each, UpstreamError)])
def test_every_error_of_an_attempt_has_its_own_row(kind):
    assert kind in VERDICTS


@pytest.mark.parametrize("kind", [each for each in KINDS if not issubclass(each, UpstreamError)])
def test_an_error_of_ours_is_no_targets(kind):
    assert verdict(kind("no")) == Verdict(fallback="failed" if kind is errors.Saturated else None)


def test_a_new_kind_means_what_its_ancestor_does():
    class Overloaded(errors.Unavailable):
        pass

    assert verdict(Overloaded("no")) is VERDICTS[errors.Unavailable]


def test_a_429_cools_and_never_hurts():
    found = verdict(errors.Throttled("no"))
    assert found.cools
    assert not found.hurts_breaker
    assert [kind for kind, each in VERDICTS.items() if each.cools] == [errors.Throttled]


def test_what_only_an_operator_can_mend_is_parked_and_never_asked_again():
    parked = {kind: each.parks for kind, each in VERDICTS.items() if each.parks}
    assert parked == {
        errors.OutOfQuota: "account",
        errors.BadCredential: "credential",
        errors.NoSuchDeployment: "target",
    }
    for kind in parked:
        found = verdict(kind("no"))
        assert found.elsewhere
        assert not found.same
        assert not found.hurts_breaker


def test_a_refusal_of_the_request_is_retried_nowhere_and_falls_back_by_its_kind():
    refusals = {kind: VERDICTS[kind] for kind in (errors.Rejected, errors.TooLong, errors.ContentFiltered)}
    assert [each.fallback for each in refusals.values()] == [None, "too_long", "content_filtered"]
    assert not any(each.elsewhere or each.same for each in refusals.values())


def test_only_a_stale_connection_is_resent_at_once():
    assert [kind for kind, each in VERDICTS.items() if each.at_once] == [errors.StaleConnection]


def test_a_stream_that_broke_is_never_retried():
    found = verdict(errors.StreamBroken("no"))
    assert found == Verdict(hurts_breaker=True)

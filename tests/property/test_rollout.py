"""Properties of a rollout: the shares are the weights, users stay, and a growing weight only takes."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from dujiang.scenes.rollout import compile_rollout

NUMBERS = {number: number for number in range(1, 20)}
WEIGHTS = st.dictionaries(st.integers(1, 8), st.floats(0.01, 1000), min_size=2, max_size=5)


def versions(weights, users, scene="s", label="production"):
    rollout = compile_rollout(scene, label, weights, NUMBERS)
    return [rollout.version_for(user) for user in users]


USERS = [f"user-{n}" for n in range(20_000)]


def test_a_tenth_is_a_tenth():
    share = Counter(versions({1: 90, 2: 10}, USERS))[2] / len(USERS)
    assert 0.09 < share < 0.11


def test_three_ways():
    shares = Counter(versions({1: 50, 2: 30, 7: 20}, USERS))
    assert [round(shares[number] / len(USERS), 1) for number in (1, 2, 7)] == [0.5, 0.3, 0.2]


def test_labels_and_scenes_are_drawn_apart():
    chosen = [set(), set(), set()]
    for mine, (scene, label) in zip(chosen, [("s", "production"), ("s", "staging"), ("t", "production")], strict=True):
        mine.update(
            user for user, n in zip(USERS, versions({1: 90, 2: 10}, USERS, scene, label), strict=True) if n == 2
        )
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 0.005 < len(chosen[one] & chosen[other]) / len(USERS) < 0.02


@settings(deadline=None)
@given(WEIGHTS, st.lists(st.text(), min_size=1, max_size=50))
def test_a_user_stays(weights, users):
    assert versions(weights, users) == versions(dict(reversed(weights.items())), users)
    assert set(versions(weights, users)) <= set(weights)


@settings(deadline=None, max_examples=50)
@given(WEIGHTS, st.data())
def test_a_growing_weight_takes_and_moves_nobody_else(weights, data):
    grown = data.draw(st.sampled_from(sorted(weights)))
    factor = data.draw(st.floats(1, 100))
    users = USERS[:500]
    before = versions(weights, users)
    after = versions({**weights, grown: weights[grown] * factor}, users)
    assert all(new in (old, grown) for old, new in zip(before, after, strict=True))


@settings(deadline=None, max_examples=50)
@given(WEIGHTS)
def test_a_version_that_leaves_or_comes_moves_only_its_own(weights):
    gone = max(weights)
    rest = {number: weight for number, weight in weights.items() if number != gone}
    users = USERS[:500]
    before, after = versions(weights, users), versions(rest, users)
    assert all(old in (new, gone) for old, new in zip(before, after, strict=True))

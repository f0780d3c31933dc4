"""The fault matrix in small: counts and orders. `make campaign-faults` has the figures, and every row in full.

Of F6 the suite has more in `tests/api/test_ernie.py`, of F14 to F16 in `test_callers_leave.py`.
"""

import pytest
from faulty import broken_wires, failing, overload, slowness, throttling
from faulty.page import with_table


def test_one_of_three_targets_that_fails_is_noticed_by_no_caller(tmp_path):
    seen = failing.one_of_three(tmp_path, 2)
    assert (seen.success, seen.control_success) == (1, 1)
    assert seen.calls_to_the_failing >= 5
    assert seen.amplification <= 1.2


def test_all_down_is_told_with_a_time_and_ends_by_itself(tmp_path):
    seen = failing.all_down(tmp_path, 2)
    assert seen.without_retry_after == 0
    assert seen.calls_upstream_per_s <= 4
    assert seen.recovered_s < 6


def test_a_flapping_target_is_left_alone_for_its_time(tmp_path):
    seen = failing.flapping(tmp_path, 5)
    assert seen.shortest_open_s >= 1.5
    assert seen.amplification <= 1.2


def test_what_a_client_repeats_does_not_reach_vendors(tmp_path):
    assert failing.client_retries(tmp_path, 2).amplification <= 1.2


def test_retry_after_is_kept_to(tmp_path):
    seen = throttling.told_when(tmp_path, 3)
    assert seen.earliest_s >= 2
    assert seen.success == 1


def test_an_account_without_money_is_asked_once(tmp_path):
    seen = throttling.money_gone(tmp_path, 1)
    assert (seen.calls_to_the_account, seen.success) == (1, 1)


def test_a_refused_key_is_used_once(tmp_path):
    seen = throttling.key_refused(tmp_path, 1)
    assert (seen.calls_with_the_key, seen.success) == (1, 1)


def test_an_expired_token_is_fetched_once(tmp_path):
    seen = throttling.token_expired(tmp_path, 1)
    assert (seen.token_fetches, seen.success) == (1, 1)
    assert seen.amplification <= 2


def test_a_first_token_that_does_not_come_is_another_targets(tmp_path):
    seen = slowness.first_token(tmp_path, 1)
    assert seen.success == 1
    assert seen.overshoot_ms < 2000


def test_silence_frees_its_places(tmp_path):
    seen = slowness.black_hole(tmp_path, 1)
    assert (seen.stuck, seen.served_after) == (0, 1)
    assert seen.overshoot_ms < 2000


def test_comments_are_no_tokens(tmp_path):
    seen = slowness.kept_alive(tmp_path, 1)
    assert (seen.timed_out, seen.stuck) == (1, 0)


def test_resets_before_the_first_token_are_noticed_by_no_caller_and_later_ones_are_told(tmp_path):
    seen = broken_wires.resets(tmp_path, 3)
    assert (seen.control, seen.before_headers, seen.after_headers) == (1, 1, 1)
    assert (seen.cut_marked, seen.cut_recorded, seen.calls_upstream_per_cut) == (1, 1, 1)


def test_half_a_character_is_no_bug(tmp_path):
    seen = broken_wires.half_characters(tmp_path, 1)
    assert (seen.answers_that_are_no_text, seen.marked, seen.bugs) == (0, 1, 0)


def test_overload_is_refused_in_good_order(tmp_path):
    seen = overload.known_limit(tmp_path, 3)
    assert (seen.without_retry_after, seen.health_failed) == (0, 0)
    assert seen.goodput_of_peak > 0.3


def test_apps_that_want_too_much_get_their_shares(tmp_path):
    seen = overload.two_apps(tmp_path, 7)
    assert seen.jain_index > 0.8
    assert seen.jain_index_weighted > 0.8


@pytest.mark.parametrize("old", ["", "old\n"])
def test_the_table_takes_the_place_of_the_one_before(old):
    row = {
        "row": "F0",
        "fault": "none",
        "zh": "无",
        "resilience": {},
        "runs": 5,
        "figures": {"success": {"median": 1.0}},
        "bounds": [{"figure": "success", "relation": "≥", "value": 1, "holds": True}],
    }
    begin, end = "<!-- campaign-faults: begin -->\n", "<!-- campaign-faults: end -->\n"
    page = with_table(f"text\n{begin}{old}{end}more\n", [row], is_chinese=False)
    assert page.startswith(f"text\n{begin}")
    assert page.endswith(f"{end}more\n")
    assert "| F0 | none | – | success 1 | success ≥ 1 | 5 |" in page
    assert "old" not in page
    assert with_table(page, [row], is_chinese=False) == page

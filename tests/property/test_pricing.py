"""Properties of prices: a cost is never negative, grows with what is used, and adds up."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from dujiang.core.chat import Usage
from dujiang.records.pricing import MICROS, Price, Tier, convert, cost_micros, rates_to

AMOUNTS = st.integers(min_value=0, max_value=10**9)
TOKENS = st.integers(min_value=0, max_value=10**8)
USAGES = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
FLAT = st.builds(Tier, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS).map(lambda tier: Price("CNY", (tier,), "test"))
RATES = st.decimals(min_value="0.0001", max_value="10000", places=4)


@st.composite
def rising(draw: st.DrawFn) -> Price:
    """A price whose tiers cost more the longer the input is."""
    bounds = sorted(draw(st.sets(st.integers(min_value=1, max_value=10**8), min_size=1, max_size=4)))
    columns = [sorted(draw(st.lists(AMOUNTS, min_size=len(bounds), max_size=len(bounds)))) for _ in range(4)]
    return Price("CNY", tuple(Tier(*row) for row in zip(*columns, bounds, strict=True)), "test")


def plus(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input_uncached + other.input_uncached,
        one.cache_read + other.cache_read,
        one.cache_write + other.cache_write,
        one.output_visible + other.output_visible,
        one.reasoning + other.reasoning,
    )


@given(FLAT, USAGES, USAGES)
def test_costs_add_up_within_the_rounding(price, one, other):
    assert abs(cost_micros(price, one) + cost_micros(price, other) - cost_micros(price, plus(one, other))) <= 1


@given(FLAT, USAGES)
def test_a_cost_is_within_half_a_micro_unit_of_the_exact_one(price, usage):
    (tier,) = price.tiers
    exact = Fraction(
        usage.input_uncached * tier.input_micros
        + usage.cache_read * tier.cache_read_micros
        + usage.cache_write * tier.cache_write_micros
        + usage.completion_tokens * tier.output_micros,
        MICROS,
    )
    assert Fraction(-1, 2) < cost_micros(price, usage) - exact <= Fraction(1, 2)


@given(rising(), USAGES, USAGES)
def test_more_tokens_never_cost_less(price, usage, more):
    assert 0 <= cost_micros(price, usage) <= cost_micros(price, plus(usage, more))


@given(rising(), st.builds(Usage, *[st.integers(min_value=-(10**9), max_value=10**9)] * 5))
def test_no_usage_makes_a_negative_cost(price, usage):
    assert cost_micros(price, usage) >= 0


@given(st.integers(min_value=0, max_value=10**15), RATES, RATES)
def test_a_conversion_is_exact_within_half_a_micro_unit(amount_micros, dollar, euro):
    rates = rates_to("CNY", {"USD": dollar, "EUR": euro})
    exact = amount_micros * Fraction(Decimal(dollar)) / Fraction(Decimal(euro))
    assert abs(convert(amount_micros, "USD", "EUR", rates) - exact) <= Fraction(1, 2)
    assert convert(amount_micros, "CNY", "CNY", rates) == amount_micros

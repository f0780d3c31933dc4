from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dujiang.core.chat import Usage
from dujiang.core.money import Exchange
from dujiang.records.price_book import PriceBook, declared_price, open_book
from dujiang.records.price_catalogue import (
    CatalogueFile,
    CatalogueRow,
    CatalogueTier,
    bundled_catalogue,
    compile_catalogue,
    read_catalogue,
)
from dujiang.records.pricing import MICROS, Price, Tier, convert, cost_micros, micros_of, rates_to, tier_of
from dujiang.routing.settings import MoneySettings

ROOT = Path(__file__).parents[3]
NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000


class Declared(msgspec.Struct):
    """A price as the document has it."""

    currency: str
    input_per_mtok: Decimal
    output_per_mtok: Decimal
    cached_input_per_mtok: Decimal | None = None


def priced(*tiers: Tier) -> Price:
    return Price(currency="USD", tiers=tiers, version="test")


@pytest.fixture(scope="module")
def catalogue_file() -> CatalogueFile:
    return read_catalogue((ROOT / "src/dujiang/records/prices.toml").read_text())


MONEY = MoneySettings(currency="CNY", rates={"USD": Decimal("7.10")})


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return open_book(MONEY, bundled_catalogue())


# ---- what a call costs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(), 0),
        (Usage(input_uncached=MICROS), 2_000_000),
        (Usage(cache_read=MICROS), 500_000),
        (Usage(cache_write=MICROS), 2_500_000),
        (Usage(output_visible=MICROS), 8_000_000),
        (Usage(reasoning=MICROS), 8_000_000),
        (Usage(input_uncached=100, cache_read=900, output_visible=40, reasoning=60), 200 + 450 + 800),
        (Usage(cache_read=1), 1),  # half a micro-unit is rounded up
        (Usage(cache_read=3), 2),  # once, not for each token
    ],
)
def test_each_token_is_priced_once_by_its_bucket(usage: Usage, cost: int) -> None:
    assert cost_micros(priced(tier_of("2", "8", "0.50", "2.50")), usage) == cost


def test_cached_input_without_a_price_costs_what_input_costs() -> None:
    price = priced(tier_of("0.3", "1"))
    assert cost_micros(price, Usage(cache_read=MICROS)) == 300_000
    assert cost_micros(price, Usage(cache_write=MICROS)) == 300_000


def test_a_price_of_nothing_is_not_a_missing_price() -> None:
    assert cost_micros(priced(tier_of("2", "8", "0", "0")), Usage(cache_read=MICROS, cache_write=MICROS)) == 0


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(input_uncached=32_000), 38_400),
        (Usage(input_uncached=32_001), 76_802),  # the whole call, not the token that is too many
        (Usage(input_uncached=1, cache_read=32_000), 76_802),  # cached input is as long
        (Usage(input_uncached=32_000, output_visible=100_000), 38_400 + 600_000),  # output does not count
        (Usage(input_uncached=32_001, output_visible=100), 76_802 + 1_200),
        (Usage(input_uncached=1_000_000), 3_000_000),  # longer than the last tier says
    ],
)
def test_the_length_of_the_input_prices_the_whole_call(usage: Usage, cost: int) -> None:
    tiers = (
        tier_of("1.2", "6", up_to_tokens=32_000),
        tier_of("2.4", "12", up_to_tokens=128_000),
        tier_of("3", "15", up_to_tokens=252_000),
    )
    assert cost_micros(priced(*tiers), usage) == cost


def test_what_a_provider_miscounts_is_never_negative() -> None:
    assert cost_micros(priced(tier_of("2", "8")), Usage(input_uncached=-1_000, output_visible=1)) == 0


@pytest.mark.parametrize(
    ("amount", "micros"),
    [("0.1", 100_000), (Decimal("0.0000005"), 1), ("0.00000049", 0), ("8.7e-2", 87_000), ("1000000000000", 10**18)],
)
def test_amounts_are_read_exactly(amount: Any, micros: int) -> None:
    assert micros_of(amount) == micros


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "a lot", ""])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises((ArithmeticError, ValueError)):
        micros_of(amount)


@pytest.mark.parametrize(
    "tiers",
    [
        (),
        (tier_of("1", "1"), tier_of("2", "2")),
        (tier_of("1", "1", up_to_tokens=9), tier_of("2", "2", up_to_tokens=9)),
        (tier_of("1", "1", up_to_tokens=9), tier_of("2", "2", up_to_tokens=8)),
        (tier_of("1", "1", up_to_tokens=0),),
    ],
)
def test_tiers_must_grow(tiers: tuple[Tier, ...]) -> None:
    with pytest.raises(ValueError, match="must grow"):
        priced(*tiers)


def test_a_negative_price_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        tier_of("1", "1", "-0.1")


# ---- which price holds -----------------------------------------------------------------------------------------------


def test_the_document_comes_first(book: PriceBook) -> None:
    declared = declared_price(Declared("USD", Decimal(30), Decimal(60), Decimal(15)), 7)
    assert declared == Price("USD", (tier_of("30", "60", "15"),), "document@7")
    assert book.price_of(declared, "openai", "gpt-4o", NOW_MS) == declared


@pytest.mark.parametrize(
    ("kind", "vendor_model", "input_micros"),
    [
        ("openai", "gpt-4o", 2_500_000),
        ("openai", "GPT-4o", 2_500_000),
        ("openai", "gpt-4o-2024-08-06", 2_500_000),
        ("openai", "gpt-4o-2024-05-13", 5_000_000),  # this snapshot has a price of its own
        ("anthropic", "claude-haiku-4-5-20251001", 1_000_000),
        ("ark", "doubao-seed-2-0-lite-260215", 87_000),
        ("ernie", "ERNIE-4.0-8K", 30_000_000),
        ("ernie", "ernie-4.0-8k", 30_000_000),
    ],
)
def test_the_catalogue_comes_second(book: PriceBook, kind: str, vendor_model: str, input_micros: int) -> None:
    price = book.price_of(None, kind, vendor_model, NOW_MS)
    assert price.version == "catalogue@2026-11"
    assert price.tiers[0].input_micros == input_micros


@pytest.mark.parametrize(
    ("kind", "vendor_model"),
    [
        ("vllm", "gpt-4o"),
        ("dashscope", "gpt-4o"),
        ("openai", "gpt-4o-audio"),
        ("openai", "gpt-4o-0806"),
        ("openai", "gpt-4o-2024-13-06"),
        ("openai", "gpt-4o-2024-08-06-tuned"),
        ("openai", "gpt-4"),
        ("openai", "2024-08-06"),
        ("openai", "-2024-08-06"),
        ("openai", ""),
        ("ernie", "ernie-5.0-thinking-latest"),
    ],
)
def test_everything_else_is_unknown(book: PriceBook, kind: str, vendor_model: str) -> None:
    assert book.price_of(None, kind, vendor_model, NOW_MS) is None


def test_a_price_holds_for_its_own_time() -> None:
    catalogue = compile_catalogue(
        read_catalogue("""
            version = "test"
            sources.page = {note = "a page", read_on = 2026-11-24}

            [[prices]]
            kind = "openai"
            models = ["m"]
            currency = "USD"
            input = 1
            output = 1
            source = "page"
            valid_from = 1970-01-02
            valid_to = 1970-01-03

            [[prices]]
            kind = "openai"
            models = ["m"]
            currency = "USD"
            input = 2.0
            output = 1
            source = "page"
            valid_from = 1970-01-03
        """)
    )
    book = open_book(MONEY, catalogue)
    found = [book.price_of(None, "openai", "m", at_ms) for at_ms in (DAY_MS - 1, DAY_MS, 2 * DAY_MS - 1, 2 * DAY_MS)]
    assert [price and price.tiers[0].input_micros for price in found] == [None, 1_000_000, 1_000_000, 2_000_000]


def test_a_currency_without_a_rate_has_no_price(book: PriceBook) -> None:
    alone = open_book(MoneySettings(), {})
    declared = declared_price(Declared("USD", Decimal(30), Decimal(60)), 1)
    assert alone.price_of(declared, "openai", "gpt-4-0613", 0) is None
    assert alone.exchanges == {"CNY": Exchange("CNY", "1")}
    assert book.exchanges == {"USD": Exchange("CNY", "7.10"), "CNY": Exchange("CNY", "1")}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{input = 1, output = 1, source = "elsewhere"}', "names no source"),
        ('{input = 1, source = "page"}', "needs either"),
        ('{source = "page"}', "needs either"),
        ('{input = 1, output = 1, tiers = [{up_to = 9, input = 1, output = 1}], source = "page"}', "needs either"),
        (
            '{input = 1, output = 1, source = "page"}, {input = 2, output = 1, source = "page"}',
            "two prices at one time",
        ),
        ('{input = -1, output = 1, source = "page"}', "negative"),
        (
            '{input = 1, output = 1, source = "page", valid_from = 2026-01-02, valid_to = 2026-01-02}',
            "before it begins",
        ),
        ('{input = 1, output = 1, source = "page", cashed = 1}', "unknown field"),
    ],
)
def test_a_faulty_catalogue_is_refused(rows: str, message: str) -> None:
    rows = rows.replace("{", '{kind = "openai", models = ["m"], currency = "USD", ').replace(
        '[{kind = "openai", models = ["m"], currency = "USD", ', "[{"
    )
    text = f'version = "test"\nsources.page = {{note = "a page", read_on = 2026-11-24}}\nprices = [{rows}]'
    with pytest.raises((ValueError, msgspec.ValidationError), match=message):
        compile_catalogue(read_catalogue(text))


# ---- the catalogue that comes along ----------------------------------------------------------------------------------


def test_the_catalogue_is_plausible(catalogue_file: CatalogueFile) -> None:
    for (kind, name), prices in compile_catalogue(catalogue_file).items():
        for price in prices:
            assert price.currency in ("USD", "CNY"), (kind, name)
            for tier in price.tiers:
                assert 0 <= tier.cache_read_micros <= tier.input_micros <= tier.output_micros, (kind, name)
                assert tier.cache_write_micros <= 2 * tier.input_micros, (kind, name)
                assert tier.output_micros <= 200 * MICROS, (kind, name)
            for field in ("input_micros", "output_micros", "cache_read_micros", "cache_write_micros"):
                ordered = [getattr(tier, field) for tier in price.tiers]
                assert ordered == sorted(ordered), (kind, name)


def test_no_price_of_the_catalogue_is_rounded(catalogue_file: CatalogueFile) -> None:
    for row in catalogue_file.prices:
        for tier in row.tiers or (row,):
            for amount in (tier.input, tier.output, tier.cached, tier.cache_write):
                assert amount is None or micros_of(amount) == amount * MICROS


def test_the_page_shows_the_catalogue(catalogue_file: CatalogueFile) -> None:
    page = (ROOT / "docs/prices.md").read_text().partition("## The catalogue")[2]
    shown = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert shown == [written(row, tier) for row in catalogue_file.prices for tier in row.tiers or (row,)]
    for source in catalogue_file.sources.values():
        assert str(source.read_on) in page


def written(row: CatalogueRow, tier: CatalogueTier | CatalogueRow) -> str:
    bound = f"{tier.up_to:,}" if isinstance(tier, CatalogueTier) and tier.up_to else "–"
    amounts = ["–" if each is None else str(each) for each in (tier.input, tier.cached, tier.cache_write, tier.output)]
    models = ", ".join(f"`{model}`" for model in row.models)
    return f"| {' | '.join([row.kind, models, row.currency, bound, *amounts])} |"


# ---- conversion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount_micros", "currency", "to", "converted"),
    [
        (1_000_000, "USD", "CNY", 7_100_000),
        (7_100_000, "CNY", "USD", 1_000_000),
        (1_000_000, "CNY", "USD", 140_845),
        (1_000_000, "USD", "EUR", 887_500),
        (1, "CNY", "USD", 0),
        (0, "USD", "CNY", 0),
        (-1_000_000, "USD", "CNY", -7_100_000),
        (5, "GBP", "GBP", 5),
        (5, "GBP", "CNY", None),
        (5, "CNY", "GBP", None),
    ],
)
def test_amounts_are_converted_by_rates(amount_micros: int, currency: str, to: str, converted: int | None) -> None:
    rates = rates_to("CNY", {"USD": Decimal("7.1"), "EUR": Decimal(8)})
    assert convert(amount_micros, currency, to, rates) == converted

"""The catalogue of prices that comes along: `prices.toml`, read exactly and checked."""

import importlib.resources
import tomllib
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from dujiang.records.pricing import Price, Tier, tier_of

Catalogue = dict[tuple[str, str], tuple[Price, ...]]
"""Prices by kind of provider and model's name in lower case, each for its own time."""


class CatalogueTier(Struct, frozen=True, forbid_unknown_fields=True):
    """Prices per million tokens of calls whose input is at most `up_to` tokens long; without it, however long."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    up_to: int | None = None


class CatalogueRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One or more models of one kind of provider that cost the same: `input` and `output`, or `tiers`."""

    kind: str
    models: Annotated[tuple[str, ...], Meta(min_length=1)]
    currency: str
    source: str
    input: Decimal | None = None
    output: Decimal | None = None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    tiers: tuple[CatalogueTier, ...] = ()
    valid_from: date | None = None
    valid_to: date | None = None


class CatalogueSource(Struct, frozen=True, forbid_unknown_fields=True):
    """Where prices were read, and on which day."""

    note: str
    read_on: date


class CatalogueFile(Struct, frozen=True, forbid_unknown_fields=True):
    """`prices.toml` as it is written."""

    version: str
    sources: dict[str, CatalogueSource]
    prices: tuple[CatalogueRow, ...]


def read_catalogue(text: str) -> CatalogueFile:
    """Parse a catalogue; numbers are read exactly. Raises `tomllib.TOMLDecodeError` or `msgspec.ValidationError`."""
    return msgspec.convert(tomllib.loads(text, parse_float=Decimal), CatalogueFile)


def compile_catalogue(file: CatalogueFile) -> Catalogue:
    """Raises `ValueError` where a row has no price, names no source, or shares its name and its time with another."""
    catalogue: Catalogue = {}
    for row in file.prices:
        if row.source not in file.sources:
            raise ValueError(f"{row.kind} {row.models[0]} names no source")
        price = _listed(row, f"catalogue@{file.version}")
        for model in row.models:
            key = (row.kind, model.lower())
            others = catalogue.get(key, ())
            if any(_overlap(price, other) for other in others):
                raise ValueError(f"{row.kind} {model} has two prices at one time")
            catalogue[key] = (*others, price)
    return catalogue


@cache
def bundled_catalogue() -> Catalogue:
    """The catalogue that comes along."""
    return compile_catalogue(
        read_catalogue(importlib.resources.files("dujiang.records").joinpath("prices.toml").read_text("utf-8"))
    )


def _listed(row: CatalogueRow, version: str) -> Price:
    return Price(
        currency=row.currency,
        tiers=_tiers(row),
        version=version,
        valid_from_ms=_start_of(row.valid_from),
        valid_to_ms=_start_of(row.valid_to),
    )


def _tiers(row: CatalogueRow) -> tuple[Tier, ...]:
    if row.tiers and row.input is row.output is row.cached is row.cache_write is None:
        return tuple(tier_of(each.input, each.output, each.cached, each.cache_write, each.up_to) for each in row.tiers)
    if row.tiers or row.input is None or row.output is None:
        raise ValueError(f"{row.kind} {row.models[0]} needs either `input` and `output` or `tiers`")
    return (tier_of(row.input, row.output, row.cached, row.cache_write),)


def _start_of(day: date | None) -> int | None:
    return None if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _overlap(one: Price, other: Price) -> bool:
    def before(a: Price, b: Price) -> bool:
        return a.valid_to_ms is not None and b.valid_from_ms is not None and a.valid_to_ms <= b.valid_from_ms

    return not (before(one, other) or before(other, one))

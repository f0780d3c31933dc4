"""What the settings of every feature are made of: frozen structs, names, numbers with their range."""

from decimal import Decimal
from typing import Annotated, Literal, dataclass_transform

from msgspec import Meta, Struct


@dataclass_transform(frozen_default=True)
class Settings(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the configuration document. Its mappings are plain dicts that nobody changes."""


Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"^\w[\w.-]*\Z",
        description="a name of up to 64 letters, digits, `_`, `-` and `.`",
    ),
]
"""What the document itself names: a provider, a scene, a role. Letters of every script."""

ModelName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^\w[\w./:@+-]*\Z",
        description="a model's name of up to 128 letters, digits and `_ - . / : @ +`",
    ),
]

NamePattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^(\w[\w./:@+-]*)?\*?\Z",
        description="a name, the start of one followed by `*`, or `*`",
    ),
]
"""An entry of an allow-list."""

VendorName = Annotated[
    str,
    Meta(min_length=1, max_length=256, pattern=r"^\S+\Z", description="a name of up to 256 characters without spaces"),
]
"""What somebody else named: a vendor's model."""

Text = Annotated[str, Meta(max_length=1024)]

Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z", description="a currency's three letters, like `CNY`")]

Amount = Annotated[Decimal, Meta(extra={"ge": 0, "le": 10**12})]
"""Money that may be nothing. Decimals have no range in msgspec; the reader of the document keeps this one."""

PositiveAmount = Annotated[Decimal, Meta(extra={"gt": 0, "le": 10**12})]

Ratio = Annotated[float, Meta(ge=0, le=1)]

Seconds = Annotated[float, Meta(gt=0, le=86_400)]

Delay = Annotated[float, Meta(ge=0, le=86_400)]
"""Seconds that may be none."""

Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]

Weight = Annotated[float, Meta(gt=0, le=1_000_000)]


ContentPolicy = Literal["none", "masked", "full"]
"""What is kept of what was said: nothing, all but secrets and personal numbers, or all of it."""


class Limits(Settings):
    """How much may pass: requests per minute, tokens per minute, calls at once. `None` sets no limit."""

    rpm: Count | None = None
    tpm: Count | None = None
    concurrency: Count | None = None


class Budget(Settings):
    """Money that may be spent in a window of time, when to warn, and what happens to calls once it is gone.

    Days, weeks (from Monday) and months are those of `timezone`, by default the schedule's.
    """

    amount: PositiveAmount
    currency: Currency
    per: Literal["hour", "day", "week", "month", "total"]
    soft_ratio: Ratio | None = None
    then: Literal["refuse", "cheapest"] = "refuse"
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] | None = None

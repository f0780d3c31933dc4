"""Recognises numbers that belong to a person: Chinese mobile and ID-card numbers, bank cards."""

import re
from datetime import date
from typing import Literal

Kind = Literal["phone", "id-card", "bank-card"]

_PHONE = re.compile(r"(?:(?:00)?86|0)?1[3-9][0-9]{9}")
_ISSUERS = re.compile(r"[3-69]|2[2-7]|81")
"""How card numbers begin: the networks of ISO/IEC 7812, UnionPay's 81, older Chinese cards with 9. No card begins like
a time in milliseconds, or like an order number that begins with a year.
"""
_PROVINCES = frozenset(
    f"{region}{province}"
    for region, provinces in {
        "1": "12345",
        "2": "123",
        "3": "1234567",
        "4": "123456",
        "5": "01234",
        "6": "12345",
    }.items()
    for province in provinces
) | {"71", "81", "82", "83"}
"""GB/T 2260, with Taiwan, Hong Kong and Macao."""
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def kind_of(number: str) -> Kind | None:
    """What a number is. Whatever groups its digits does not count; a final X belongs to an ID card."""
    digits = "".join(character for character in number if character in "0123456789Xx")
    if is_id_card(digits):
        return "id-card"
    if _PHONE.fullmatch(digits):
        return "phone"
    return "bank-card" if is_bank_card(digits) else None


def is_id_card(digits: str) -> bool:
    """A resident identity number: 18 characters with their check character (GB 11643-1999), or 15 of the older form."""
    if len(digits) == 18 and digits[:17].isdigit():
        total = sum(int(digit) * weight for digit, weight in zip(digits[:17], _WEIGHTS, strict=True))
        born = digits[6:14]
        if "10X98765432"[total % 11] != digits[17].upper() or born[:2] not in ("18", "19", "20"):
            return False
    elif len(digits) == 15 and digits.isdigit():
        born = f"19{digits[6:12]}"
    else:
        return False
    return digits[:2] in _PROVINCES and _is_day(born)


def is_bank_card(digits: str) -> bool:
    """14 to 19 digits that begin like a card, or 13 of an early Visa card, with Luhn's check digit (ISO/IEC 7812-1).

    Other numbers of 13 digits are articles and books (EAN-13).
    """
    if not (13 <= len(digits) <= 19 and digits.isdigit() and _ISSUERS.match(digits)):
        return False
    if len(digits) == 13 and digits[0] != "4":
        return False
    total = sum(map(int, digits[-1::-2])) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


def _is_day(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return True

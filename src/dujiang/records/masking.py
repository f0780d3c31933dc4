r"""Takes out of a text what must not be kept: keys, passwords, mobile and ID-card numbers, e-mails, bank cards.

Each becomes a mark: `[key]`, `[phone]`, `[id-card]`, `[e-mail]`, `[bank-card]`. Time grows with the length of the text,
whatever it holds: repetitions are possessive or short. What is masked already stays as it is.

Texts may stand inside JSON strings: an escape like `\n` or `\u4e2d` is never cut, joined to a word, or masked.
"""

import re

from dujiang.records.personal_numbers import kind_of

_ESCAPE = r'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})'

_VENDORS = r"""
    (?:sk|pk|rk|dj)-[A-Za-z0-9_-]{16,}+                       # OpenAI, Anthropic, DeepSeek, DashScope, ours
  | [sr]k_(?:live|test)_[A-Za-z0-9]{16,}+                     # Stripe
  | bce-v3/[A-Za-z0-9-]++/[A-Za-z0-9]++                       # Baidu Qianfan
  | (?:AKIA|ASIA)[A-Z0-9]{16}[A-Za-z0-9]*+                    # Amazon
  | (?:LTAI|AKID|AKLT)[A-Za-z0-9]{12,}+                       # Alibaba, Tencent, Volcengine
  | AIza[A-Za-z0-9_-]{30,}+                                   # Google
  | (?:gh[oprsu]|github_pat|hf)_[A-Za-z0-9_]{20,}+            # GitHub, Hugging Face
  | glpat-[A-Za-z0-9_-]{20,}+                                 # GitLab
  | xox[abeoprs]-[A-Za-z0-9-]{10,}+                           # Slack
  | eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]++)?+   # a JSON web token
  | -----BEGIN\ [A-Z ]{0,32}PRIVATE\ KEY-----(?:[A-Za-z0-9+/=\s]|\\[nr])*+(?:-----END\ [A-Z ]{0,32}PRIVATE\ KEY-----)?+
"""
_KEYS = re.compile(
    rf"""
    (?:(?P<escape>{_ESCAPE})|(?<![A-Za-z])|(?=-----BEGIN))
    (?:(?P<scheme>(?i:bearer|authorization\W{{1,8}}basic)\ {{1,4}})(?P<token>[A-Za-z0-9._~+/=-]{{8,}}+)
      |(?P<key>{_VENDORS}))
  | {_ESCAPE}
    """,
    re.VERBOSE,
)
_KEY_SIGNS = {
    "-": ("sk-", "pk-", "rk-", "dj-", "glpat-", "xox", "bce-v3/", "-----BEGIN "),
    "_": ("k_live_", "k_test_", "gho_", "ghp_", "ghr_", "ghs_", "ghu_", "_pat_", "hf_"),
    "A": ("AKIA", "ASIA", "LTAI", "AKID", "AKLT", "AIza"),
    "J": ("eyJ",),
}
"""Much cheaper to look for than the pattern: a text without any of these holds no key of a known form, and one without
the characters before them none of these."""

_SCHEMES = ("bearer ", "uthorization")
_LOGIN_WORDS = ("password", "passwd", "passphrase", "pwd", "密码", "口令")
_LOGIN_SIGNS = ("pass", "pwd", "密码", "口令")
_KEY_WORDS = ("key", "token", "secret", "credential", "密钥", "秘钥", "令牌", "凭证")
_IS = r"[ \t]{0,8}(?::=|=>|[:=：])[ \t]{0,8}"
_SPOKEN_IS = r"[ \t]{0,8}(?:is|was|是|为)[ \t]{0,8}"
_BARE = r"""[^"'`\\,;{}\[\]()<>&|\x00-\x20\x7f-\U0010ffff]"""
_PASSWORDS = [
    re.compile(rf"((?i:{'|'.join(_LOGIN_WORDS)}){before}){value}")
    for before, value in (
        (rf'"{_IS}"', r'(?:[^"\\\r\n]|\\.)++'),  # "password": "…", as JSON has it
        (rf"""\\{{1,8}}["']{_IS}\\{{1,8}}["']""", r"""[^"'\\\r\n]++"""),  # the same within a JSON string
        (rf"'?{_IS}'", r"""[^"'\\\r\n]++"""),
        (rf'{_IS}"', r'(?![,:}\]\s])[^"\\\r\n]++'),  # what cannot be the end of a JSON string
        (rf"""(?:\\{{0,8}}["'])?{_IS}""", rf"(?!(?i:null|none|true|false|undefined)\b){_BARE}{{4,}}+"),
        (_SPOKEN_IS, rf"(?={_BARE}{{0,64}}[0-9]){_BARE}{{4,}}+"),
    )
]
_NAMED_KEYS = re.compile(
    rf"""
    (?P<kept>(?i:{"|".join(_KEY_WORDS)})(?:\\{{0,8}}["'])?(?:{_IS}|{_SPOKEN_IS})(?:\\{{0,8}}["'])?)
    (?P<token>(?![0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})[A-Za-z0-9+/_.~-]{{12,}}+=*+)
    """,
    re.VERBOSE,
)

_EMAILS = re.compile(
    rf"""
    (?:(?P<escape>{_ESCAPE})|(?<![A-Za-z0-9._%+-]))
    (?P<mail>(?:[A-Za-z0-9._%+-]++@(?:[A-Za-z0-9-]++\.)+[A-Za-z]{{2,}})++)
  | {_ESCAPE}
    """,
    re.VERBOSE,
)

_GAP = "[ \u00a0\u2010-\u2015-]"
_NUMBERS = re.compile(
    rf"""
    (?=[0-9A-Fa-f+\\])(?:                                       # passes over most of a text at once
    {_ESCAPE}
  | (?<![0-9A-Za-z])                                            # a UUID or a digest is no number
    (?:[0-9A-Fa-f]{{8}}-(?:[0-9A-Fa-f]{{4}}-){{3}}[0-9A-Fa-f]{{12}}|[0-9A-Fa-f]{{32,}}+)(?![0-9A-Za-z])
  | (?P<grouped>(?=(?P<first>\+?[0-9]+))(?:
      [0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}(?:[0-9]{{4}}(?:{_GAP}[0-9]{{1,3}})?|[0-9]{{1,3}})
    | [0-9]{{4}}{_GAP}[0-9]{{6}}{_GAP}[0-9]{{4,5}}
    | [0-9]{{6}}{_GAP}[0-9]{{10,13}}
    | [0-9]{{6}}{_GAP}[0-9]{{8}}{_GAP}[0-9]{{3}}(?:[0-9]|[Xx](?![A-Za-z]))
    | (?:(?:\+|00)?86{_GAP}?|0)?1[3-9][0-9]{_GAP}?[0-9]{{4}}{_GAP}?[0-9]{{4}}
    ))(?![0-9])
  | (?P<run>[0-9]++(?:[Xx](?![A-Za-z]))?+)(?:\.[0-9]++)?+
    )
    """,
    re.VERBOSE,
)
_MANY_DIGITS = re.compile(rf"[0-9](?:{_GAP}?[0-9]){{10}}")
_DIGIT = re.compile(r"[0-9]")
_LETTER = re.compile(r"[A-Za-z]")

_OUTSIDE = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)|(?:[-+.0-9eE]|(?P<mark>\[(?:key|phone|id-card|e-mail|bank-card)\]))++',
    re.DOTALL,
)


def mask(text: str) -> str:
    """The text without secrets and personal numbers. It may be what a JSON string holds, escaped or not."""
    lowered = text.lower()
    if _has_key_sign(text) or _has_any(lowered, _SCHEMES):
        text = _KEYS.sub(_without_key, text)
    if _has_any(lowered, _LOGIN_SIGNS):
        for pattern in _PASSWORDS:
            text = pattern.sub(r"\1[key]", text)
    if _has_any(lowered, _KEY_WORDS):
        text = _NAMED_KEYS.sub(_without_named_key, text)
    if "@" in text:
        text = _EMAILS.sub(_without_email, text)
    return _without_numbers(text) if _MANY_DIGITS.search(text) else text


def mask_json(document: str) -> str:
    """A JSON document, masked, and still one: a number outside strings becomes a string that holds its mark."""
    masked = mask(document)
    return document if masked == document else _OUTSIDE.sub(_quoted, masked)


def _has_key_sign(text: str) -> bool:
    return any(_has_any(text, signs) for character, signs in _KEY_SIGNS.items() if character in text)


def _has_any(text: str, signs: tuple[str, ...]) -> bool:
    for sign in signs:  # noqa: SIM110 - a generator costs as much as what it looks for
        if sign in text:
            return True
    return False


def _without_key(match: re.Match[str]) -> str:
    escape, scheme, token, key = match.group("escape", "scheme", "token", "key")
    if (token and not _is_random(token)) or (key and not _is_long(key)) or not (token or key):
        return match[0]
    return f"{escape or ''}{scheme or ''}[key]"


def _without_named_key(match: re.Match[str]) -> str:
    return f"{match['kept']}[key]" if _is_random(match["token"]) else match[0]


def _without_email(match: re.Match[str]) -> str:
    return f"{match['escape'] or ''}[e-mail]" if match["mail"] else match[0]


def _without_numbers(text: str) -> str:
    pieces: list[str] = []
    done = position = 0
    while (match := _NUMBERS.search(text, position)) is not None:
        start = match.start()
        number = match["grouped"] or match["run"]
        kind = kind_of(number) if number else None
        if kind is not None:
            pieces += (text[done:start], f"[{kind}]")
            done = position = start + len(number)
        else:  # the groups after the first may be a number of their own
            position = match.end("first") if match["grouped"] else match.end()
    return "".join([*pieces, text[done:]])


def _quoted(match: re.Match[str]) -> str:
    return match[0] if match["mark"] is None else f'"{match["mark"]}"'


def _is_random(text: str) -> bool:
    """Whether a text looks like a secret and not like words: letters with digits, many digits, or both cases mixed."""
    has_letter, has_digit = _LETTER.search(text), _DIGIT.search(text)
    if has_letter and has_digit:
        return True
    return len(text) >= 16 if has_digit else len(text) >= 20 and text not in (text.lower(), text.upper())


def _is_long(key: str) -> bool:
    """Whether a key of a known form has the length of one, where `sk-` and words joined by hyphens have not."""
    return _is_random(key) or max(map(len, key.split("-"))) >= 16

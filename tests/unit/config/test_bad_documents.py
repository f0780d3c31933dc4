import pytest

from dujiang.config.loader import read_document
from dujiang.config.problems import MAX_PROBLEMS, InvalidDocument

MODEL = "m: {targets: [{provider: p, model: x}]}"
BASE = f"""
providers: {{p: {{kind: openai, base_url: "https://api.example.com/v1"}}}}
models: {{{MODEL}}}
"""


def problems(text: str, **options):
    with pytest.raises(InvalidDocument) as refused:
        read_document(text.encode(), **options)
    return {problem.path: problem.message for problem in refused.value.problems}


def test_the_base_of_these_cases_is_sound():
    assert read_document(BASE.encode()).models.keys() == {"m"}


WRONG = [
    # shapes
    ("provders: {}", "provders", "unknown key `provders`; did you mean `providers`?"),
    ("providers: []", "providers", "expected a mapping, got a list"),
    ("cache:", "cache", "expected a mapping, got nothing"),
    ("records: {content: maskd}", "records.content", "did you mean `masked`?"),
    ("records: {retention_days: ninety}", "records.retention_days", "expected a whole number, got text"),
    ("records: {retention_days: 0}", "records.retention_days", "must be at least 1"),
    ("records: {retention_days: 1.5}", "records.retention_days", "expected a whole number, got a number"),
    ("records: {retention_days: true}", "records.retention_days", "got `true` or `false`"),
    ("cache: {share_in_flight: yes}", "cache.share_in_flight", "expected `true` or `false`, got text"),
    ("cache: {exact: {ttl_s: .inf}}", "cache.exact.ttl_s", "expected a number, got text"),
    ("cache: {exact: {ttl_s: 1e300}}", "cache.exact.ttl_s", "at most"),
    ("cache: {exact: {ttl_s: 1e999}}", "cache.exact.ttl_s", "finite"),
    ("money: {rates: {usd: 7}}", "money.rates.usd", "three letters"),
    ("money: {rates: {USD: 0}}", "money.rates.USD", "must be more than 0"),
    ("money: {rates: {USD: '7,1'}}", "money.rates.USD", "decimal number"),
    ("money: {rates: {CNY: 2}}", "money.rates.CNY", "whose rate is 1"),
    ("aliases: {a b: m}", 'aliases["a b"]', "a model's name"),
    ("apps: {'a/b': {}}", "apps.a/b", "a name of up to 64"),
    ("apps: {x: {models: ['a*b']}}", "apps.x.models[0]", "followed by `*`"),
    # providers
    ("providers: {q: {base_url: 'https://x.example'}}", "providers.q.kind", "is missing"),
    ("providers: {q: {kind: opnai}}", "providers.q.kind", "did you mean `openai`?"),
    ("providers: {q: {kind: openai, base_url: 'http://10.0.0.1/v1'}}", "providers.q.base_url", "private network"),
    ("providers: {q: {kind: openai, base_url: 'ftp://x.example'}}", "providers.q.base_url", "http"),
    ("providers: {q: {kind: openai, base_url: 'https://u:p@x.example'}}", "providers.q.base_url", "user name"),
    ("providers: {q: {kind: openai, base_url: 'https://x.example/v1?a=b'}}", "providers.q.base_url", "query"),
    ("providers: {q: {kind: vllm, base_url: 'http://127.0.0.1:8000/v1'}}", "providers.q.base_url", "private network"),
    ("providers: {q: {kind: openai, model_file: x}}", "providers.q.model_file", "kind `local`"),
    ("providers: {q: {kind: local, model_file: ../x}}", "providers.q.model_file", "embedded model"),
    ("providers: {q: {kind: local, base_url: 'https://x.example'}}", "providers.q.base_url", "no address"),
    ("providers: {q: {kind: ernie, base_url: 'https://x.example/v2'}}", "providers.q.base_url", "scheme and host only"),
    (
        "providers: {q: {kind: ernie, credentials: [{name: a, secret: x}]}}",
        "providers.q.credentials[0].secret",
        "AK:SK",
    ),
    (
        "providers: {q: {kind: deepseek, credentials: [{name: a, secret: x}, {name: a, secret: y}]}}",
        "providers.q.credentials[1].name",
        "twice",
    ),
    (
        'providers: {q: {kind: deepseek, credentials: [{name: a, secret: "x\\n"}]}}',
        "providers.q.credentials[0].secret",
        "printable ASCII",
    ),
    (
        "providers: {q: {kind: deepseek, credentials: [{name: a, secret: '***'}]}}",
        "providers.q.credentials[0].secret",
        "only stands for a secret",
    ),
    ("providers: {q: {kind: deepseek, credentials: [{name: a}]}}", "providers.q.credentials[0].secret", "is missing"),
    # references between parts
    (BASE + "aliases: {a: n}", "aliases.a", "there is no model `n`"),
    (BASE + "aliases: {m: m}", "aliases.m", "the alias would hide"),
    (BASE + "aliases: {auto: m}", "aliases.auto", "reserved"),
    (BASE.replace("m: {t", "'auto:x': {t"), "models.auto:x", "reserved"),
    (BASE.replace("provider: p", "provider: openia"), "models.m.targets[0].provider", "there is no provider"),
    (BASE.replace("model: x", "model: ''"), "models.m.targets[0].model", "must not be empty"),
    ("models: {m: {targets: []}}", "models.m.targets", "must not be empty"),
    ("models: {m: {}}", "models.m.targets", "is missing"),
    (BASE + "routes: {r: {candidates: [m, n]}}", "routes.r.candidates[1]", "there is no model `n`"),
    (BASE + "routes: {r: {candidates: [m], fallback: n}}", "routes.r.fallback", "there is no model `n`"),
    (BASE + "resilience: {fallbacks: {n: [m]}}", "resilience.fallbacks.n", "there is no model `n`"),
    (BASE + "resilience: {fallbacks: {m: [m]}}", "resilience.fallbacks", "m → m"),
    (BASE + "resilience: {retry: {max_delay_s: 0.1}}", "resilience.retry.max_delay_s", "less than"),
    (BASE + "resilience: {breaker: {min_calls: 21}}", "resilience.breaker.min_calls", "more than `window`"),
    (BASE + "scenes: {s: {versions: [{version: 1, model: n}]}}", "scenes.s.versions[0].model", "no model `n`"),
    (BASE + "scenes: {s: {versions: [{version: 1, model: 'auto:r'}]}}", "scenes.s.versions[0].model", "no route `r`"),
    ("scenes: {s: {versions: [{version: 0}]}}", "scenes.s.versions[0].version", "at least 1"),
    ("scenes: {s: {versions: [{version: 1}, {version: 1}]}}", "scenes.s.versions[1].version", "declared twice"),
    ("scenes: {s: {versions: [{version: 1}], labels: {production: 2}}}", "scenes.s.labels.production", "no version 2"),
    ("scenes: {s: {versions: [{version: 1}], labels: {1st: 1}}}", "scenes.s.labels.1st", "digit"),
    (BASE + "apps: {a: {models: [n]}}", "apps.a.models[0]", "no model `n`"),
    (BASE + "apps: {a: {models: ['auto:r']}}", "apps.a.models[0]", "no route `r`"),
    (BASE + "apps: {a: {scenes: [s]}}", "apps.a.scenes[0]", "no scene `s`"),
    (BASE + "apps: {a: {unknown_role: r}}", "apps.a.unknown_role", "no role `r`"),
    (BASE + "apps: {admin: {}}", "apps.admin", "built in"),
    ("roles: {r: {permissions: ['chat:cal']}}", "roles.r.permissions[0]", "did you mean `chat:call`?"),
    ("roles: {r: {permissions: ['chats:*']}}", "roles.r.permissions[0]", "there is no permission"),
    ("roles: {r: {}}", "roles.r.permissions", "is missing"),
    ("budgets: [{subject: 'app', amount: 1, currency: CNY, per: day}]", "budgets[0].subject", "`app:A`"),
    ("budgets: [{subject: 'app:a', amount: 1, currency: CNY, per: day}]", "budgets[0].subject", "no app `a`"),
    ("budgets: [{subject: 'role:r', amount: 1, currency: CNY, per: day}]", "budgets[0].subject", "no role `r`"),
    ("budgets: [{subject: 'app:*', amount: 0, currency: CNY, per: day}]", "budgets[0].amount", "more than 0"),
    ("budgets: [{subject: 'app:*', amount: 1, currency: CNY}]", "budgets[0].per", "is missing"),
    ("records: {retention_days: 7}", "records.content_retention_days", "more than `retention_days`"),
    ("schedule: {model: n}", "schedule.model", "no model `n`"),
    ("schedule: {timezone: ../etc/passwd}", "schedule.timezone", "time zone"),
    ("alerts: {url: 'file:///etc/passwd'}", "alerts.url", "http"),
    ("cors: {allow_origins: ['example.com']}", "cors.allow_origins[0]", "an origin"),
    # texts
    ("- a", "", "mapping of sections"),
    ("a: [", "", "is not YAML"),
    ("\0", "", "is not YAML"),
]


@pytest.mark.parametrize(("text", "path", "message"), WRONG)
def test_refuses_with_path_and_reason(text, path, message):
    found = problems(text)
    assert path in found, found
    assert message in found[path]


def test_overrides_take_the_keys_of_resilience_and_no_others():
    overridden = MODEL.replace("m: {", "m: {resilience: {timeouts: {total: 1}, retry: {max_attempts: 99}, x: 1}, ")
    found = problems(BASE.replace(MODEL, overridden))
    assert found["models.m.resilience.timeouts.total"] == "unknown key `total`; did you mean `total_s`?"
    assert "at most 20" in found["models.m.resilience.retry.max_attempts"]
    assert "unknown key" in found["models.m.resilience.x"]


def test_reports_problems_of_every_kind_at_once():
    found = problems(
        """
        providers: {p: {kind: openai, bse_url: x}, broken: {}}
        models: {m: {targets: [{provider: broken, model: x}, {provider: nowhere, model: x}]}}
        aliases: {a: n}
        records: {retention_days: x}
        """
    )
    assert set(found) == {
        "providers.p.bse_url",
        "providers.broken.kind",
        "models.m.targets[1].provider",
        "aliases.a",
        "records.retention_days",
    }


def test_stops_at_a_number_of_problems_that_nobody_reads():
    text = "\n".join(f"x{n}: 1" for n in range(10_000))
    assert len(problems(text)) == MAX_PROBLEMS


def test_never_repeats_a_value_since_it_may_be_a_secret():
    text = "providers: {q: {kind: deepseek, base_url: 'sk-leak', credentials: [{name: 'sk leak', secret: [sk-leak]}]}}"
    assert not any("leak" in message for message in problems(text).values())


def test_the_message_tells_the_first_problems():
    with pytest.raises(InvalidDocument, match="2 problems: a: unknown key `a`; b: unknown key `b`"):
        read_document(b"a: 1\nb: 2")

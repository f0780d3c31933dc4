from dujiang.config.effect import not_in_effect
from dujiang.config.loader import read_document
from dujiang.config.warnings import warnings


def warned(text: str, environ=None):
    document = read_document(text.encode())
    return {warning.path: warning.message for warning in warnings(document, environ or {})}


def test_does_not_warn_of_what_the_catalogue_prices():
    text = "providers: {p: {kind: deepseek}}\nmodels: {m: {targets: [{provider: p, model: deepseek-chat}]}}"
    assert warned(text) == {}


def test_warns_of_prices_that_cannot_be_used():
    found = warned(
        """
        money: {currency: CNY}
        providers: {p: {kind: deepseek}}
        models:
          free: {targets: [{provider: p, model: x}]}
          dollars: {price: {currency: USD, input_per_mtok: 1, output_per_mtok: 1}, targets: [{provider: p, model: x}]}
          yuan: {price: {currency: CNY, input_per_mtok: 1, output_per_mtok: 1}, targets: [{provider: p, model: x}]}
        """
    )
    assert found == {
        "models.free": "has no price, here or in the catalogue: what it costs is unknown",
        "models.dollars.price": "is in USD, which `money.rates` does not convert: what it costs is unknown",
    }


def test_warns_of_providers_without_use_and_models_without_credential():
    found = warned(
        """
        providers:
          idle: {kind: deepseek}
          keyed: {kind: deepseek, credentials: [{name: a, secret: "${KEY:-}"}]}
          open: {kind: moonshot}
        models:
          dead:
            price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 0}
            targets: [{provider: keyed, model: x}]
          alive:
            price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 0}
            targets: [{provider: keyed, model: x}, {provider: open, model: x}]
        """
    )
    assert found == {
        "providers.idle": "no model has a target there",
        "models.dead": "cannot be called: no credential is set for providers.keyed",
    }


def test_a_stored_secret_may_be_there_for_all_that_the_environment_tells():
    found = warned(
        """
        providers: {p: {kind: deepseek, credentials: [{name: a, secret: "secret:main"}]}}
        models: {m: {price: {currency: CNY, input_per_mtok: 0, output_per_mtok: 0}, targets: [{provider: p, model: x}]}}
        """
    )
    assert found == {}


def test_warns_of_scenes_that_will_not_read_as_meant():
    found = warned("scenes: {s: {versions: [{version: 1, system: 'a {{ name }} b', variables: {name: {default: x}}}]}}")
    assert set(found) == {"scenes.s.versions[0]", "scenes.s.versions[0].variables.name"}


def test_warns_of_an_app_that_a_scene_is_for_and_nobody_declared():
    found = warned(
        "apps: {shop: {}}\nscenes: {s: {apps: [shop, admin, shpo, 'planner-*', '*'], versions: [{version: 1}]}}"
    )
    assert found == {"scenes.s.apps[2]": "no app `shpo` is declared; did you mean `shop`?"}


def test_warns_of_roles_that_miss_what_they_mean():
    found = warned("roles: {r: {permissions: [], models: [locl, 'gpt-*'], scenes: [scene_2]}}")
    assert set(found) == {"roles", "roles.r.permissions", "roles.r.models[0]", "roles.r.scenes[0]"}
    assert "did you mean `local`?" in found["roles.r.models[0]"]


def test_lists_what_is_declared_in_vain_and_only_that():
    text = """
    providers:
      p: {kind: deepseek, limits: {rpm: 1}, credentials: [{name: a, secret: "secret:stored"}]}
    models:
      m:
        resilience: {timeouts: {total_s: 9}, breaker: {window: 9}, balancing: {strategy: cost}}
        targets: [{provider: p, model: x, resilience: {breaker: {window: 8}}}]
    resilience: {timeouts: {total_s: 9}, balancing: {strategy: sticky}}
    apps: {a: {limits: {tpm: 5, max_tokens: 9}, budget: {amount: 1, currency: CNY, per: day, then: cheapest}}}
    routes: {}
    budgets: []
    cors: {allow_origins: []}
    alerts: {url: ""}
    schedule: {timezone: UTC}
    """
    assert not_in_effect(read_document(text.encode())) == ("schedule", "apps.a.budget.then")


def test_what_only_a_model_or_the_document_can_say_is_in_vain_elsewhere():
    text = """
    providers: {p: {kind: deepseek}}
    models:
      m:
        resilience: {probe: {interval_s: 9}, retry: {max_attempts: 2}, fallbacks: {m: [n]}}
        targets:
          - {provider: p, model: x, resilience: {breaker: {open_s: 1}, timeouts: {total_s: 9}, concurrency: {limit: 2}}}
          - provider: p
            model: y
            resilience:
              retry: {}
              breaker: {window: 9, max_ejected_ratio: 0.1}
              concurrency: {queue: 1, limit: 2}
              balancing: {strategy: cost}
              fallbacks: {m: [n]}
      n: {targets: [{provider: p, model: z}]}
    """
    assert not_in_effect(read_document(text.encode())) == (
        "models.m.resilience.probe",
        "models.m.targets[1].resilience.retry",
        "models.m.targets[1].resilience.breaker.max_ejected_ratio",
        "models.m.targets[1].resilience.concurrency.queue",
        "models.m.targets[1].resilience.balancing",
        "models.m.targets[1].resilience.fallbacks",
    )


def test_a_section_with_default_values_is_declared_all_the_same():
    assert not_in_effect(read_document(b"schedule: {timezone: Asia/Shanghai}\nrecords: {}")) == ("schedule",)

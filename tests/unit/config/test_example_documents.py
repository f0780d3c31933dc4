from decimal import Decimal
from pathlib import Path

import pytest

from dujiang.config.effect import not_in_effect
from dujiang.config.loader import load
from dujiang.config.masking import masked
from dujiang.config.settings import Sections
from dujiang.config.warnings import warnings

ROOT = Path(__file__).parents[3]
OURS = ROOT / "docs" / "examples" / "dujiang.yaml"
SHARED = ROOT.parent / "shared" / "examples" / "dujiang.yaml"

EXAMPLES = [
    OURS,
    pytest.param(
        SHARED,
        marks=pytest.mark.skipif(not SHARED.exists(), reason="the contract's example is not beside the checkout"),
    ),
]


@pytest.mark.parametrize("path", EXAMPLES)
def test_accepts_it_as_it_stands(path):
    document = load(path, {})
    assert {"gpt-4", "gpt-4o-mini", "ernie-4.0", "local"} <= document.models.keys()
    gpt4 = document.models["gpt-4"]
    assert gpt4.version == "0613"
    assert gpt4.price is not None
    assert gpt4.price.output_per_mtok == 60
    assert [target.weight for target in gpt4.targets] == [3, 1]
    assert document.aliases["文心一言"] == "ernie-4.0"
    assert document.money.rates == {"USD": Decimal("7.1")}
    assert document.roles["guest"].limits.max_tokens == 256
    assert document.scenes["summary"].versions[0].model == "auto"
    assert document.routes["default"].candidates[-1] == "gpt-4"


@pytest.mark.parametrize("path", EXAMPLES)
def test_has_every_section(path):
    assert set(Sections.__struct_fields__) <= load(path, {}).declared


@pytest.mark.parametrize("path", EXAMPLES)
def test_says_what_is_not_in_effect(path):
    unheeded = set(not_in_effect(load(path, {})))
    assert {"routes", "cache", "schedule"} <= unheeded
    assert unheeded <= {"routes", "cache", "schedule", "cors"}


@pytest.mark.parametrize("path", EXAMPLES)
def test_warns_of_models_without_a_credential_until_there_is_one(path):
    document = load(path, {})
    assert "models.gpt-4o-mini" in [warning.path for warning in warnings(document, {})]
    environ = {"OPENAI_API_KEY": "sk-1", "ERNIE_CREDENTIAL": "a:b", "DEEPSEEK_API_KEY": "sk-2"}
    assert warnings(document, environ) == ()


@pytest.mark.parametrize("path", EXAMPLES)
def test_prints_references_and_no_secret(path):
    tree = masked(load(path, {"OPENAI_API_KEY": "sk-very-secret"}))
    assert tree["providers"]["openai"]["credentials"][0]["secret"] == "${OPENAI_API_KEY:-}"
    assert "sk-very-secret" not in repr(tree)
    assert "declared" not in tree

"""Whatever the upstream does and whenever callers leave, the ledger holds."""

from collections.abc import Iterator
from itertools import count

import pytest
from callers import NATIVE, OPENAI, Question, ask_all
from gateway import Gateway, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger import check, costs, counted, exported, settle
from scripted import BEHAVIOURS, document, environ

from dujiang.emulator.server import Emulator

_rounds = count()

calls = st.builds(
    Question,
    request_id=st.just(""),
    model=st.sampled_from([*BEHAVIOURS, "nobody"]),
    path=st.sampled_from([NATIVE, OPENAI]),
    stream=st.booleans(),
    leaves_after_s=st.none() | st.floats(0.0, 0.06),
)


@pytest.fixture(scope="module")
def scripted(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("scripted"), document(), environ=environ(emulator.url)) as gateway:
        yield gateway


@given(script=st.lists(calls, min_size=1, max_size=16))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_ledger_holds(scripted: Gateway, emulator: Emulator, script: list[Question]) -> None:
    prefix = f"round-{next(_rounds)}-"
    asked = [
        Question(f"{prefix}{n}", call.model, call.path, call.stream, call.leaves_after_s)
        for n, call in enumerate(script)
    ]
    before = counted(emulator)
    heard = ask_all(scripted.port, asked)
    settle(scripted)
    verdict = check(heard, exported(scripted, prefix), counted(emulator) - before)
    assert not verdict.violations
    assert not verdict.unknown


def test_the_sums_agree_with_the_rows(scripted: Gateway) -> None:
    heard = ask_all(scripted.port, [Question(f"sum-{n}", "prompt") for n in range(20)])
    settle(scripted)
    verdict = check(heard, exported(scripted, "sum-"))
    assert not verdict.violations
    everything = exported(scripted)
    total = sum(round(row["cost"]["amount"] * 1e6) for row in everything if row["cost"] is not None)
    assert total > 0
    assert costs(scripted) == {"CNY": pytest.approx(total / 1e6, abs=1e-9)}

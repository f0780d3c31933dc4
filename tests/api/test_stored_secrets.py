"""`secret:NAME` in a running server: sent to the provider it is bound to, and in no other way to be seen."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gateway import ADMIN_KEY, Answer, Gateway, eventually, serving
from on_disk import stored

from dujiang.emulator.server import Emulator

VALUE = "sk-Canary0Stored1Secret2Nv7Qz"
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0-one"
OTHER_KEY = "f0e1d2c3b4a5968778695a4b3c2d1e0f-two"
CANARIES = (VALUE[:14], KEY, OTHER_KEY)

DOCUMENT = """
providers:
  home: {kind: openai, base_url: "${HOME_URL}/v1", allow_private_network: true,
         credentials: [{name: main, secret: "secret:main"}]}
  missing: {kind: openai, base_url: "${HOME_URL}/v1", allow_private_network: true,
            credentials: [{name: main, secret: "secret:nobody"}]}
  half: {kind: openai, base_url: "${HOME_URL}/v1", allow_private_network: true,
         credentials: [{name: lost, secret: "secret:nobody"}, {name: main, secret: "secret:main"}]}
models:
  home: {targets: [{provider: home, model: home}]}
  missing: {targets: [{provider: missing, model: missing}]}
  half: {targets: [{provider: half, model: half}]}
"""


def secrets(
    data_dir: Path, *arguments: str, value: str = "", environ: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dujiang", "secrets", *arguments, "--data-dir", str(data_dir)]
    env = {**os.environ, **(environ or {})}
    return subprocess.run(command, input=value, env=env, capture_output=True, text=True, timeout=60, check=False)


def store(data_dir: Path, emulator: Emulator, environ: dict[str, str] | None = None) -> None:
    address = ("--kind", "openai", "--base-url", emulator.url)
    made = secrets(data_dir, "set", "main", *address, value=f"{VALUE}\n", environ=environ)
    assert made.returncode == 0, made.stderr


def reasons(gateway: Gateway) -> dict[str, str]:
    providers = gateway.ask("/api/v1/health").json["components"]["providers"]
    return {
        f"{name}/{target}": state["reason"]
        for name, targets in providers.items()
        for target, state in targets.items()
        if state["state"] == "unconfigured"
    }


def assert_unseen(gateway: Gateway, *answers: Answer) -> None:
    """No canary in an answer, in the log, or in any file of the data directory but the key's own."""
    files = [content for path, content in stored(gateway.data_dir) if path.name != "secret.key"]
    texts = [answer.body for answer in answers] + files
    commands = [" ".join(each.cmdline()) for each in (gateway.process, *gateway.process.children(recursive=True))]
    for canary in CANARIES:
        assert not any(canary.encode() in text for text in texts)
        assert not any(canary in command for command in commands)


def test_a_stored_secret_is_sent_to_its_own_provider_and_shown_nowhere(emulator: Emulator, tmp_path: Path) -> None:
    environ = {"HOME_URL": emulator.url, "DUJIANG_SECRET_KEY": KEY}
    store(tmp_path, emulator, environ)
    with serving(tmp_path, DOCUMENT, environ=environ) as gateway:
        answers = [gateway.chat(model) for model in ("home", "half", "missing")]
        home, half, missing = answers
        assert (home.status, half.status) == (200, 200)
        assert emulator.counters.keys[VALUE].completed == 2
        assert (missing.status, missing.json["error"]["type"]) == (503, "misconfigured")
        assert "`nobody`" in missing.json["message"]
        found = reasons(gateway)
        assert set(found) == {
            "missing/*",
            "missing/credentials.main",
            "half/credentials.lost",
        }
        assert "`nobody`" in found["half/credentials.lost"]
        shown = [gateway.ask(path) for path in ("/api/v1/health", "/metrics", "/api/v1/records?limit=50", "/v1/models")]
        assert_unseen(gateway, *answers, *shown)


def test_a_document_that_sends_a_secret_elsewhere_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    environ = {"HOME_URL": emulator.url, "DUJIANG_SECRET_KEY": KEY}
    store(tmp_path, emulator, environ)
    elsewhere = DOCUMENT.replace(
        'half: {kind: openai, base_url: "${HOME_URL}', 'half: {kind: openai, base_url: "http://localhost:1'
    )
    with pytest.raises(AssertionError, match="another address"), serving(tmp_path, elsewhere, environ=environ):
        pass


def test_a_secret_that_was_given_to_another_provider_is_not_sent_any_more(emulator: Emulator, tmp_path: Path) -> None:
    environ = {"HOME_URL": emulator.url, "DUJIANG_SECRET_KEY": KEY}
    store(tmp_path, emulator, environ)
    with serving(tmp_path, DOCUMENT, environ=environ) as gateway:
        assert gateway.chat("home").status == 200
        given_away = ("--kind", "openai", "--base-url", "https://elsewhere.example/v1")
        assert secrets(tmp_path, "set", "main", *given_away, value=VALUE, environ=environ).returncode == 0
        eventually(lambda: gateway.chat("home").status == 503)
        assert "another address" in reasons(gateway)["home/*"]


def test_the_first_start_makes_a_key_and_says_so_once(emulator: Emulator, tmp_path: Path) -> None:
    environ = {"HOME_URL": emulator.url}
    for is_first in (True, False):
        with serving(tmp_path, DOCUMENT, environ=environ) as gateway:
            assert ("secret.key" in (tmp_path / "log").read_text()) is is_first
            assert gateway.chat("home").status == (503 if is_first else 200)
        store(tmp_path, emulator)
    assert (tmp_path / "secret.key").read_text().strip() not in (tmp_path / "log").read_text()


def test_a_key_given_as_an_option_reaches_the_worker_by_its_environment(emulator: Emulator, tmp_path: Path) -> None:
    store(tmp_path, emulator, {"DUJIANG_SECRET_KEY": KEY})
    environ = {"HOME_URL": emulator.url}
    with serving(tmp_path, DOCUMENT, environ=environ, arguments=("--secret-key", KEY)) as gateway:
        assert gateway.chat("home").status == 200
        assert KEY not in " ".join(gateway.worker.cmdline())
        assert gateway.worker.environ()["DUJIANG_SECRET_KEY"] == KEY
    assert not (tmp_path / "secret.key").exists()


def test_another_key_is_a_reason_in_health_until_the_old_one_is_given_and_rotated(
    emulator: Emulator, tmp_path: Path
) -> None:
    old = {"HOME_URL": emulator.url, "DUJIANG_SECRET_KEY": KEY}
    new = {"HOME_URL": emulator.url, "DUJIANG_SECRET_KEY": OTHER_KEY}
    both = {**new, "DUJIANG_SECRET_KEY_OLD": KEY}
    store(tmp_path, emulator, old)
    key_id = re.findall(r"[0-9a-f]{16}", secrets(tmp_path, "list", environ=old).stdout)[0]
    with serving(tmp_path, DOCUMENT, environ=new) as gateway:
        assert gateway.chat("home").status == 503
        assert key_id in reasons(gateway)["home/*"]
        assert "DUJIANG_SECRET_KEY_OLD" in reasons(gateway)["home/*"]
    with serving(tmp_path, DOCUMENT, environ=both) as gateway:
        assert gateway.chat("home").status == 200
    refused = secrets(tmp_path, "rotate", environ=new)
    assert refused.returncode == 1
    assert key_id in refused.stderr
    assert "Encrypted 1 secret" in secrets(tmp_path, "rotate", environ=both).stdout
    with serving(tmp_path, DOCUMENT, environ=new) as gateway:
        assert gateway.chat("home").status == 200
        assert_unseen(gateway)


@pytest.mark.parametrize("key", ["short", "change-me-change-me-change-me-change-me", ""])
def test_a_weak_key_stops_the_start(tmp_path: Path, key: str) -> None:
    command = [sys.executable, "-m", "dujiang", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    env = {**os.environ, "DUJIANG_ADMIN_KEY": ADMIN_KEY, "DUJIANG_SECRET_KEY": key}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "DUJIANG_SECRET_KEY" in ended.stderr
    assert not key or key not in ended.stderr

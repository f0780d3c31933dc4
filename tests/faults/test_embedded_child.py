"""The embedded model's process: with stand-in children for supervision, with a real model for what it serves."""

import asyncio
import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dujiang.providers.embedded.cache import cache_dir, explain_missing, locate
from dujiang.providers.embedded.process import EmbeddedModel, free_port

KEY = "a-key-for-this-test-only"
READY_SCRIPT = "import sys; print('ready', flush=True); sys.stdin.read()"
GREETING = [
    {"role": "system", "content": "你是示例公司的客服，用中文简洁作答。"},
    {"role": "user", "content": "你好，世界"},
]


def stand_in(script, *arguments):
    """A child that is no model: what is tested is its supervision."""
    return EmbeddedModel(Path("none"), 1, KEY, command=[sys.executable, "-c", script, *map(str, arguments)])


async def until(condition, timeout_s=20.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is a process
            await asyncio.sleep(0.01)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_starts_becomes_ready_and_stops():
    async def run():
        model = stand_in(READY_SCRIPT)
        assert model.state == "stopped"
        await model.start()
        assert model.state == "starting"
        await model.wait_ready(20)
        assert model.state == "ready"
        pid = model.pid
        await model.stop()
        assert (model.state, model.pid) == ("stopped", None)
        assert not is_alive(pid)

    asyncio.run(run())


def test_a_killed_child_is_started_again():
    async def run():
        model = stand_in(READY_SCRIPT)
        await model.start()
        await model.wait_ready(20)
        first = model.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: model.state == "restarting")
        assert model.reason == "ended (signal SIGKILL)"
        await model.wait_ready(20)
        assert model.pid != first
        assert model.reason == ""
        await model.stop()

    asyncio.run(run())


def test_a_child_that_cannot_start_is_tried_after_growing_delays(caplog):
    script = "import sys; sys.exit('0.00.004.300 E load: no such file\\nTraceback')"

    def ours():
        return [record for record in caplog.records if record.name.startswith("dujiang.")]

    async def run():
        model = stand_in(script)
        await model.start()
        await until(lambda: len(ours()) == 3)
        assert model.state == "restarting"
        assert model.reason == "did not start (exit code 1): load: no such file"
        await model.stop()

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert [record.getMessage().rpartition(" in ")[2] for record in ours()] == ["0.2 s", "0.4 s", "0.8 s"]


def test_a_child_that_cannot_be_run_at_all_is_no_crash():
    async def run():
        model = EmbeddedModel(Path("none"), 1, KEY, command=["/no/such/program"])
        await model.start()
        await until(lambda: model.state == "restarting")
        assert model.reason.startswith("could not be started: ")
        await model.stop()

    asyncio.run(run())


def test_a_child_that_ignores_sigterm_is_killed():
    async def run():
        model = stand_in(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY_SCRIPT}")
        await model.start()
        await model.wait_ready(20)
        pid = model.pid
        await model.stop()
        assert not is_alive(pid)

    asyncio.run(run())


def test_stopping_while_it_starts_leaves_nothing_behind():
    async def run():
        model = stand_in("import sys; sys.stdin.read()")
        await model.start()
        await until(lambda: model.pid is not None)
        pid = model.pid
        await model.stop()
        assert not is_alive(pid)
        await model.stop()

    asyncio.run(run())


def test_a_child_that_writes_much_is_not_blocked():
    async def run():
        model = stand_in(f"import sys; sys.stderr.write('x' * 2_000_000); {READY_SCRIPT}")
        await model.start()
        await model.wait_ready(20)
        await model.stop()

    asyncio.run(run())


def test_the_child_gets_its_key_and_no_other_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("DUJIANG_SECRET_KEY", "of the gateway")
    monkeypatch.setenv("OPENAI_API_KEY", "of a vendor")
    seen = tmp_path / "environment"

    async def run():
        model = stand_in(
            f"import os, sys, json; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ))); {READY_SCRIPT}", seen
        )
        await model.start()
        await model.wait_ready(20)
        await model.stop()

    asyncio.run(run())
    environment = json.loads(seen.read_text())
    assert environment["DUJIANG_EMBEDDED_API_KEY"] == KEY
    assert "of the gateway" not in environment.values()
    assert "of a vendor" not in environment.values()


def test_the_child_wants_a_key():
    command = [sys.executable, "-m", "dujiang.providers.embedded.child", "--model", "none.gguf", "--port", "1"]
    environ = {name: value for name, value in os.environ.items() if name != "DUJIANG_EMBEDDED_API_KEY"}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "DUJIANG_EMBEDDED_API_KEY must hold the key" in ended.stderr


@pytest.fixture(scope="module")
def model_file():
    """Any real model of this machine: the small one where it is here, else the default."""
    directory = cache_dir(os.environ)
    found = locate("smollm2-135m-instruct-q4_1", directory) or locate("default", directory)
    if found is None:
        pytest.skip(explain_missing("default"))
    return found


class Client:
    """Calls a running model, blocking: one connection for each call."""

    def __init__(self, model, key=KEY):
        self.port = int(model.base_url.split(":")[2].removesuffix("/v1"))
        self.headers = {"Authorization": f"Bearer {key}"}

    @contextmanager
    def answer(self, body):
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), self.headers)
            with connection.getresponse() as response:
                yield response

    def chat(self, **body):
        with self.answer(body) as response:
            return response.status, json.loads(response.read())

    def events(self, **body):
        with self.answer({**body, "stream": True}) as response:
            return [line for line in response.read().decode().splitlines() if line]

    def first_event(self, **body):
        """Leaves as soon as the answer has begun."""
        with self.answer({**body, "stream": True}) as response:
            return response.readline()


def with_model(model_file, use):
    async def run():
        model = EmbeddedModel(model_file, free_port(), KEY)
        await model.start()
        try:
            await model.wait_ready(120)
            await use(model)
        finally:
            await model.stop()

    asyncio.run(run())


def test_a_real_model_answers_with_real_counts(model_file):
    async def use(model):
        status, answer = await asyncio.to_thread(Client(model).chat, messages=GREETING, max_tokens=12, temperature=0.7)
        assert status == 200
        assert answer["model"] == model_file.stem
        assert answer["choices"][0]["message"]["content"].strip()
        assert answer["usage"]["prompt_tokens"] > 10
        assert 1 <= answer["usage"]["completion_tokens"] <= 12

    with_model(model_file, use)


def test_a_real_model_refuses_strangers_and_too_much(model_file):
    async def use(model):
        status, answer = await asyncio.to_thread(Client(model, "another-key").chat, messages=GREETING)
        assert status == 401
        assert answer["error"]["type"] == "authentication_error"
        long = [{"role": "user", "content": "river " * 5000}]
        status, answer = await asyncio.to_thread(Client(model).chat, messages=long)
        assert status == 400
        assert answer["error"]["type"] == "exceed_context_size_error"

    with_model(model_file, use)


def test_a_real_model_streams_and_stops_for_a_caller_that_left(model_file):
    async def use(model):
        client = Client(model)
        for _ in range(3):  # one more than there are slots: an abandoned answer would hold its slot
            event = await asyncio.to_thread(client.first_event, messages=GREETING, ignore_eos=True)
            assert event.startswith(b"data: {")
        with_usage = {"messages": GREETING, "max_tokens": 4, "stream_options": {"include_usage": True}}
        lines = await asyncio.to_thread(client.events, **with_usage)
        assert lines[-1] == "data: [DONE]"
        assert json.loads(lines[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 4

    with_model(model_file, use)


def test_a_real_model_that_crashes_answers_again(model_file):
    async def use(model):
        os.kill(model.pid, signal.SIGSEGV)
        await until(lambda: model.state == "restarting")
        await model.wait_ready(120)
        status, _ = await asyncio.to_thread(Client(model).chat, messages=GREETING, max_tokens=2)
        assert status == 200

    with_model(model_file, use)


@pytest.mark.parametrize("moment", ["loading", "ready"])
def test_a_real_model_ends_with_its_parent(model_file, moment):
    parent_script = (
        "import asyncio, sys; from pathlib import Path\n"
        "from dujiang.providers.embedded.process import EmbeddedModel, free_port\n"
        "async def main():\n"
        "    model = EmbeddedModel(Path(sys.argv[1]), free_port(), 'k' * 32)\n"
        "    await model.start()\n"
        "    while model.pid is None: await asyncio.sleep(0.01)\n"
        "    if sys.argv[2] == 'ready': await model.wait_ready(120)\n"
        "    print(model.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", parent_script, str(model_file), moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(pid)

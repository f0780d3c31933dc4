"""Keys made and revoked from a shell, while the server runs."""

import subprocess
import sys

from gateway import Gateway, eventually


def dujiang(gateway: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dujiang", *arguments, "--data-dir", str(gateway.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_a_new_key_works_within_a_moment_and_a_revoked_one_no_more(gateway: Gateway) -> None:
    made = dujiang(gateway, "keys", "create", "--app", "shop", "--role", "guest")
    secret = made.stdout.strip()
    key_id = made.stderr.split("id: ")[1].strip()

    def status() -> int:
        body = {"model": "lab-7b", "parameters": {"prompt": "hi"}}
        return gateway.ask("/api/v1/chat/completions", body, key=secret).status

    eventually(lambda: status() == 200, 5)
    dujiang(gateway, "keys", "revoke", key_id)
    eventually(lambda: status() == 401, 5)
    assert gateway.chat().status == 200

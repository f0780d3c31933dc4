"""What tests say to the configuration of a running server."""

from typing import Any

from gateway import Answer, Gateway

CONFIG = "/api/v1/config"


def write(gateway: Gateway, method: str, body: Any, revision: int | None, **more: Any) -> Answer:
    headers = more.pop("headers", {}) | ({} if revision is None else {"If-Match": f'"{revision}"'})
    return gateway.ask(more.pop("path", CONFIG), body, method=method, headers=headers, **more)


def put(gateway: Gateway, body: Any, **more: Any) -> Answer:
    return write(gateway, "PUT", body, revision_of(gateway), **more)


def patch(gateway: Gateway, body: Any, **more: Any) -> Answer:
    return write(gateway, "PATCH", body, revision_of(gateway), **more)


def roll_back(gateway: Gateway, revision: int, **more: Any) -> Answer:
    return write(gateway, "POST", {}, None, path=f"{CONFIG}/revisions/{revision}/rollback", **more)


def revision_of(gateway: Gateway) -> int:
    return int(gateway.ask(CONFIG).headers["etag"].strip('"'))


def tree_of(gateway: Gateway) -> dict[str, Any]:
    return gateway.ask(CONFIG).json


def problems_of(answer: Answer) -> set[str]:
    assert answer.status == 422, answer.json
    return {problem["path"] for problem in answer.json["error"]["problems"]}


def audited(gateway: Gateway) -> list[tuple[str, str]]:
    return [(row["action"], row["outcome"]) for row in gateway.ask(f"{CONFIG}/audit").json["items"]]


def model(target: str = "ok", **more: Any) -> dict[str, Any]:
    return {"targets": [{"provider": "openai", "model": target}], **more}

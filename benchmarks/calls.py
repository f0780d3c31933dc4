"""Made-up calls as a busy installation has them: a few apps with most of the traffic, many users, failures, hits."""

import json
import random
from collections.abc import Iterator

from dujiang.records.moments import id_text
from dujiang.records.record import AttemptRecord, Content, Json, Record, Status

APPS = tuple(f"app_{n}" for n in range(12))
USERS_OF_AN_APP = 2_000
_SCENES = ("scene_1", "scene_2", "support", None)
_ROLES = ("user", "vip", "admin", None)
_MODELS = (
    ("gpt-4o-mini", "openai", "CNY"),
    ("gpt-4", "openai", "USD"),
    ("deepseek-chat", "deepseek", "CNY"),
    ("ernie-4.0", "ernie", "CNY"),
    ("local", "local", None),
)
_STATUSES: tuple[tuple[Status, int, str | None], ...] = (
    ("ok", 200, None),
    ("error", 503, "upstream_unavailable"),
    ("cancelled", 499, None),
    ("cut", 502, "upstream_stream_broken"),
    ("refused", 429, "limit_exceeded"),
)


class Traffic:
    """An endless source of calls, the same for the same seed. Every tenth call or so keeps what was said."""

    def __init__(self, seed: int, *, content_share: float = 0.0) -> None:
        self._random = random.Random(seed)  # noqa: S311 made-up calls need no secret numbers
        self._content_share = content_share

    def spread(self, count: int, *, start_ms: int, end_ms: int) -> Iterator[Record]:
        """`count` calls in the order of time, evenly over a range."""
        for n in range(count):
            yield self.call(start_ms + (end_ms - start_ms) * n // count)

    def call(self, ms: int) -> Record:
        """A call that began at `ms`."""
        draw = self._random
        app = draw.choices(APPS, [2.0**-n for n in range(len(APPS))])[0]
        model, provider, currency = draw.choice(_MODELS)
        status, http_status, error = draw.choices(_STATUSES, [95, 2, 1, 0.5, 1.5])[0]
        has_run = status != "refused"
        total_ms = draw.lognormvariate(7, 0.8) if has_run else draw.uniform(0.1, 2)
        cost = draw.randrange(20, 90_000) if currency and has_run else None
        attempt = AttemptRecord(
            provider, f"{provider}/{model}", "main", "first least_loaded", error, 0.0, total_ms / 4, total_ms, cost
        )
        return Record(
            id=id_text(ms.to_bytes(6) + bytes([0x70 | draw.getrandbits(4)]) + draw.randbytes(9)),
            request_id=f"req-{draw.getrandbits(64):016x}",
            started_at_ms=ms,
            app=app,
            key_id=f"key-{app}-{draw.randrange(4)}",
            endpoint="chat",
            status=status,
            http_status=http_status,
            user_id=f"user-{draw.randrange(USERS_OF_AN_APP)}" if draw.random() < 0.95 else None,
            user_role=draw.choice(_ROLES),
            scene=draw.choice(_SCENES),
            model_requested=draw.choice((model, "auto")),
            model=model if has_run else "",
            served=f"{model}-2026-05-13",
            provider=provider if has_run else "",
            target=attempt.target if has_run else "",
            credential="main",
            stream=draw.random() < 0.6,
            error_type=error,
            error_text="The model's service failed." if error else None,
            finish_reason="stop" if status == "ok" else None,
            input_uncached=draw.randrange(2_000) if has_run else 0,
            cache_read=draw.randrange(500) if has_run else 0,
            output_visible=draw.randrange(1_000) if has_run else 0,
            usage_source="provider" if has_run else None,
            cost_micros=cost,
            currency=currency,
            price_version="2026-05" if cost is not None else None,
            cached="exact" if draw.random() < 0.1 else None,
            first_token_ms=attempt.first_token_ms if has_run else None,
            total_ms=total_ms,
            overhead_ms=draw.uniform(0.2, 2),
            config_revision=7,
            request_bytes=draw.randrange(200, 8_000),
            attempts=(attempt,) if has_run else (),
            content=self._said() if draw.random() < self._content_share else None,
        )

    def _said(self) -> Content:
        words = "你好，世界 " * self._random.randrange(1, 40)
        messages = json.dumps([{"role": "user", "content": words}], ensure_ascii=False)
        return Content(Json(messages), words)

"""The configuration document as one frozen tree: every feature's settings in their places."""

from typing import Annotated, Literal

from msgspec import Meta, field

from dujiang.core.secret import Secret
from dujiang.core.settings import Count, ModelName, Name, Ratio, Settings
from dujiang.identity.settings import AppSettings, BudgetSettings, DefaultLimits, RoleSettings
from dujiang.providers.settings import ProviderSettings
from dujiang.records.settings import RecordSettings
from dujiang.resilience.settings import ResilienceOverrides, ResilienceSettings
from dujiang.routing.settings import ModelSettings, MoneySettings, RouteSettings, TargetSettings
from dujiang.scenes.settings import SceneSettings

CacheSeconds = Annotated[float, Meta(gt=0, le=31_536_000)]
WebOrigin = Annotated[
    str,
    Meta(max_length=256, pattern=r"^(\*|https?://[^\s/?#@]+)\Z", description="an origin like `https://host`, or `*`"),
]


class DeclaredTarget(TargetSettings):
    """A target, and what it overrides of its model's resilience."""

    resilience: ResilienceOverrides = {}


class DeclaredModel(ModelSettings):
    """A model, and what it overrides of the document's resilience."""

    targets: Annotated[tuple[DeclaredTarget, ...], Meta(min_length=1)]
    resilience: ResilienceOverrides = {}


class ExactCacheSettings(Settings):
    """Answers to calls that are equal in everything that shapes an answer; warmer ones are not kept."""

    enabled: bool = True
    ttl_s: CacheSeconds = 3600
    max_entries: Count = 100_000
    max_temperature: Annotated[float, Meta(ge=0, le=2)] = 1.0


class SemanticCacheSettings(Settings):
    """Answers to calls that mean the same. `max_error` is the share of wrong answers that is put up with."""

    enabled: bool = False
    threshold: Ratio = 0.9
    ttl_s: CacheSeconds = 3600
    max_error: Ratio = 0.01


class CacheSettings(Settings):
    """Whose answers may be reused for whom, and how."""

    exact: ExactCacheSettings = ExactCacheSettings()
    semantic: SemanticCacheSettings = SemanticCacheSettings()
    scope: Literal["app", "user"] = "app"
    share_in_flight: bool = True


class ScheduleSettings(Settings):
    """The planner's time zone, the model that helps it, and whether one does."""

    timezone: Annotated[str, Meta(max_length=64)] = "Asia/Shanghai"
    model: ModelName = "auto"
    engine: Literal["auto", "rules", "model"] = "auto"


def _no_secret() -> Secret:
    """A factory, because JSON Schema cannot write a secret down, not even an empty one."""
    return Secret("")


class AlertSettings(Settings):
    """Where alerts are sent, signed with `secret`; nowhere while `url` is empty."""

    url: Annotated[str, Meta(max_length=2048)] = ""
    secret: Secret = field(default_factory=_no_secret)
    allow_private_network: bool = False


class CorsSettings(Settings):
    """The web origins whose pages may call the API."""

    allow_origins: tuple[WebOrigin, ...] = ()


class Sections(Settings):
    """Every key that a document may have."""

    providers: dict[Name, ProviderSettings] = {}
    models: dict[ModelName, DeclaredModel] = {}
    aliases: dict[ModelName, ModelName] = {}
    money: MoneySettings = MoneySettings()
    routes: dict[Name, RouteSettings] = {}
    resilience: ResilienceSettings = ResilienceSettings()
    cache: CacheSettings = CacheSettings()
    scenes: dict[Name, SceneSettings] = {}
    apps: dict[Name, AppSettings] = {}
    roles: dict[Name, RoleSettings] = {}
    limits: DefaultLimits = DefaultLimits()
    budgets: tuple[BudgetSettings, ...] = ()
    records: RecordSettings = RecordSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    alerts: AlertSettings = field(default_factory=AlertSettings)
    cors: CorsSettings = CorsSettings()


class Document(Sections):
    """A document that was read and found sound.

    `declared` has the paths of the sections, and of the keys right below them, that its text really holds: what is
    equal to a default may have been said or not.
    """

    declared: frozenset[str] = frozenset()

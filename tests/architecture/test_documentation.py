"""Documentation that can fail the build: the pages name what the product has, and the product takes what they show."""

import ast
import inspect as stdlib_inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from fastapi.routing import iter_route_contexts
from msgspec import NODEFAULT, UNSET, Struct, inspect

from benchmarks.page import GATEWAY, PAGE, RECORDS, read_records, read_report, with_records, with_tables
from dujiang.api.management import create_management
from dujiang.api.unbuilt import UNBUILT
from dujiang.api.wire import fields, native, openai
from dujiang.app import Application
from dujiang.cli.main import app as command_line
from dujiang.config.effect import not_in_effect
from dujiang.config.loader import default_text, read_document
from dujiang.config.opening import open_configuration
from dujiang.config.settings import Sections
from dujiang.core import errors
from dujiang.core.binding import Binding
from dujiang.core.chat import Message
from dujiang.core.errors import AppError, Misconfigured
from dujiang.core.secret import Secret
from dujiang.identity.accounts import Accounts
from dujiang.identity.foresight import Foresight
from dujiang.identity.key_ring import KeyRing
from dujiang.identity.ledger import Ledger
from dujiang.identity.permissions import PERMISSIONS
from dujiang.identity.users import Users
from dujiang.migrations import prepare
from dujiang.providers.presets import PRESETS, Preset
from dujiang.providers.settings import KINDS
from dujiang.records.journal import Journal
from dujiang.records.service import SqliteRecords
from dujiang.resilience.events import Fleet, Herald
from dujiang.runtime import Backends, Runtime
from dujiang.server.peer import PeerLimits
from dujiang.snapshot import Compiler
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.memory import MemoryStore
from dujiang.storage.secret_key import VARIABLE, open_keychain
from dujiang.storage.secrets import SecretStore
from dujiang.telemetry.metrics import METRICS, Metrics

API = ("docs/api.md", "docs/api.zh.md")
CONFIGURATION = ("docs/configuration.md", "docs/configuration.zh.md")
TRANSLATED = (
    "README",
    "docs/index",
    "docs/quickstart",
    "docs/api",
    "docs/configuration",
    "docs/identity",
    "docs/budgets",
)
PAGES = sorted(
    page.relative_to(Path(__file__).parents[2]).as_posix()
    for folder in (Path(__file__).parents[2], Path(__file__).parents[2] / "docs")
    for page in folder.glob("*.md")
)

# The body of `requirement.md` §2, which every first page must send; only the model is the one that needs no vendor.
REQUIRED_BODY = {
    "model": "local",
    "parameters": {"prompt": "你好，世界", "temperature": 0.7, "max_tokens": 100, "prompt_id": "scene_1"},
    "user_info": {"user_id": "123456", "user_role": "admin"},
    "request_id": "uuid-1234567890",
}
REQUIRED_ANSWER = {
    "code": {},
    "message": {},
    "data": {
        "result": {},
        "model_info": {"name": {}, "provider": {}, "version": {}},
        "usage": {"prompt_tokens": {}, "completion_tokens": {}, "total_tokens": {}},
    },
    "request_id": {},
    "timestamp": {},
}

# Between the parent process and the embedded model's child only: nobody sets it.
INTERNAL_VARIABLES = {"DUJIANG_EMBEDDED_API_KEY"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_BODY = re.compile(r"(/v1/\S+|/api/v1/\S+)[^']*?-d '(\{.*?\})'", re.DOTALL)


# ---- reading a page ----------------------------------------------------------------------------------------------


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def fences(text: str, language: str) -> list[str]:
    return [match[2] for match in _FENCE.finditer(text) if match[1] == language]


def headings(text: str) -> list[tuple[int, str]]:
    return [(len(match[1]), match[2]) for match in re.finditer(r"^(#+) (.+)$", prose(text), re.MULTILINE)]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, heads and rules left out."""
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")]
    heads = {n - 1 for n, row in enumerate(rows) if all(re.fullmatch(r":?-+:?", cell) for cell in row)}
    return [row for n, row in enumerate(rows) if n not in heads and n - 1 not in heads]


def codes(text: str) -> set[str]:
    return set(_CODE.findall(prose(text)))


def sections(text: str) -> dict[str, str]:
    """What stands right under each heading, by the heading's words and by each code in it."""
    found: dict[str, str] = {}
    for part in re.split(r"^#+ ", prose(text), flags=re.MULTILINE)[1:]:
        heading, _, content = part.partition("\n")
        found.update(dict.fromkeys([heading, *_CODE.findall(heading)], content))
    return found


def bodies(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The path and body of every chat call that a page's shell examples make."""
    found = [match for fence in fences(text, "sh") for match in _BODY.finditer(fence)]
    return [(match[1], json.loads(match[2])) for match in found if match[1].endswith("/chat/completions")]


# ---- what the product has ----------------------------------------------------------------------------------------


@pytest.fixture
def routes(tmp_path: Path) -> Iterator[set[str]]:
    """Every address of the live application over the default document."""
    metrics = Metrics()
    journal = Journal(tmp_path / "journal", fsync_ms=None)
    records = SqliteRecords(tmp_path / "records")
    with connect(sqlite_url(tmp_path)) as database:
        prepare(database)
        secrets = SecretStore(database, open_keychain(tmp_path, {VARIABLE: "0123456789abcdefghijklmnopqrstuvwxyz"}))
        store = MemoryStore()
        compiler = Compiler(
            expand=lambda _: "",
            reveal=secrets.reveal,
            embedded={},
            metrics=metrics,
            journal=journal,
            store=store,
            accounts=Accounts(store, Ledger(database), Foresight()),
            users=Users(),
            fleet=Fleet(1, Herald("alone", lambda _: None)),
        )
        configuration = open_configuration(database, secrets, compiler)
        configuration.load()
        runtime = Runtime(
            configuration,
            KeyRing({}),
            metrics,
            backends=Backends(database, store, journal, records),
            herald=Herald("alone", lambda _: None),
        )
        found = [str(context.path) for context in iter_route_contexts(create_management(runtime).routes)]
        yield {path.replace(":path}", "}") for path in [*Application(runtime)._endpoints, *found]}
        runtime.close()


def nothing(name: str, binding: Binding) -> Secret:
    raise Misconfigured(f"There is no secret `{name}`.")


def settings_tables(
    kind: type[Struct], path: str, values: Struct | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """The path of every mapping of the document, with its keys and how a page writes their defaults."""
    defaults = {field.name: default_of(field) for field in msgspec.structs.fields(kind)}
    rows: dict[str, str] = {}
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    for field in described.fields:
        value = defaults[field.name] if values is None else getattr(values, field.name)
        rows[field.encode_name] = "required" if field.required else written(value)
        inner, step = struct_in(field.type)
        if inner is not None:
            root = "" if kind is Sections else f"{path}."
            yield from settings_tables(
                inner, f"{root}{field.encode_name}{step}", value if isinstance(value, Struct) else None
            )
    yield path, rows


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not NODEFAULT else field.default


def struct_in(kind: inspect.Type) -> tuple[type[Struct] | None, str]:
    """The struct that a key leads to, and the step of the path: a name, an item, or none."""
    match kind:
        case inspect.Metadata():
            return struct_in(kind.type)
        case inspect.StructType():
            return kind.cls, ""
        case inspect.DictType():
            return struct_in(kind.value_type)[0], ".NAME"
        case inspect.VarTupleType():
            return struct_in(kind.item_type)[0], "[]"
        case inspect.UnionType():
            return next((found for each in kind.types if (found := struct_in(each))[0]), (None, ""))
        case _:
            return None, ""


def written(value: object) -> str:
    if isinstance(value, bool | int | float | str) or (isinstance(value, tuple) and value):
        return f"`{json.dumps(value)}`"
    assert value in (None, UNSET, NODEFAULT, (), {}) or not isinstance(value, bool | int | float | str | tuple)
    return "–"


def error_classes() -> list[type[AppError]]:
    classes = [each for _, each in stdlib_inspect.getmembers(errors, stdlib_inspect.isclass)]
    return [each for each in classes if issubclass(each, AppError) and each is not AppError]


def commands(group: Any, path: str = "dujiang") -> Iterator[tuple[str, Any]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, f"{path} {name}")


def parameters_of(command: Any) -> list[Any]:
    return [each for each in command.params if each.name != "help"]


def names_of(parameter: Any) -> list[str]:
    """What a caller types: an option's long name, an argument's own."""
    if parameter.param_type_name == "option":
        return [name for name in parameter.opts if name.startswith("--")]
    return [parameter.metavar or parameter.name]


# ---- the product, named -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", API)
def test_every_route_is_named(root: Path, routes: set[str], page: str) -> None:
    named = {code.rpartition(" ")[2] for code in codes((root / page).read_text())}
    missing = routes - named - {f"{path}/{{rest}}" for path in UNBUILT}
    assert missing == set()


@pytest.mark.parametrize("page", API)
def test_every_field_of_a_call_is_named(root: Path, page: str) -> None:
    named = codes((root / page).read_text())
    own = {f"parameters.{name}" for name in native.Parameters.__struct_fields__}
    own |= {f"user_info.{name}" for name in fields.UserInfo.__struct_fields__} | {*native.ChatBody.__struct_fields__}
    other = {*openai.ChatBody.__struct_fields__, *Message.__struct_fields__, *fields.CacheControl.__struct_fields__}
    assert (own | other) - named == set()


@pytest.mark.parametrize("page", API)
def test_every_error_is_explained(root: Path, page: str) -> None:
    shown = {tuple(row[:3]) for row in table_rows((root / page).read_text())}
    wanted = {(str(each.status), f"`{each.code}`", f"`{each.__name__}`") for each in error_classes()}
    assert wanted - shown == set()


@pytest.mark.parametrize("page", API)
def test_every_error_is_mapped_to_openais_as_told(root: Path, page: str) -> None:
    found = sections((root / page).read_text())
    *special, other = table_rows(found["In OpenAI's format" if page == API[0] else "OpenAI 格式的错误"])
    told = {code: (row[1], row[2]) for row in special for code in _CODE.findall(row[0])}
    for each in error_classes():
        inner = json.loads(openai.render_error(each("", reason="the reason"), "id", None))["error"]
        kind, code = told.get(each.code, (other[1], f"`{each.code}`"))
        assert inner["type"] == kind.strip("`")
        assert inner["code"] == (code.strip("`") if code.startswith("`") else "the reason")


@pytest.mark.parametrize("page", CONFIGURATION)
def test_every_key_of_the_document_is_explained_with_its_default(root: Path, page: str) -> None:
    found = sections((root / page).read_text())
    shown = {
        path: {row[0].strip("`"): row[2].replace("必填", "required") for row in table_rows(found.get(path, ""))}
        for path, _ in settings_tables(Sections, "dujiang.yaml")
    }
    assert shown == dict(settings_tables(Sections, "dujiang.yaml"))


@pytest.mark.parametrize("page", CONFIGURATION)
def test_what_is_not_in_effect_is_listed(root: Path, page: str) -> None:
    document = read_document((root / "docs/examples/dujiang.yaml").read_bytes())
    found = sections((root / page).read_text())
    listed = " ".join(codes(found["What is in effect" if page == CONFIGURATION[0] else "目前生效的部分"]))
    keys = {path.rpartition(".")[2] for path in not_in_effect(document)}
    assert {key for key in keys if not re.search(rf"\b{key}\b", listed)} == set()


@pytest.mark.parametrize("page", CONFIGURATION)
def test_every_permission_and_every_role_is_named(root: Path, page: str) -> None:
    text = (root / page).read_text()
    assert PERMISSIONS - codes(text) == set()
    shown = {row[0].strip("`"): codes(" ".join(row[1:])) for row in table_rows(text) if len(row) == 4}
    for name, role in read_document(default_text()).roles.items():
        models = {*role.models} - {"*"}
        assert shown[name] == {*role.permissions, *models}


@pytest.mark.parametrize("page", CONFIGURATION)
def test_every_variable_of_the_default_document_is_named(root: Path, page: str) -> None:
    variables = set(re.findall(r"\$\{([A-Z_]+)", default_text().decode()))
    assert variables - codes((root / page).read_text()) == set()


def test_every_kind_of_provider_is_a_row(root: Path) -> None:
    rows = table_rows(sections((root / "docs/providers.md").read_text())["Kinds"])
    shown = {_CODE.findall(row[0])[0]: row for row in rows}
    assert shown.keys() == KINDS
    for kind, preset in PRESETS.items():
        assert codes(" ".join(shown[kind][1:])) == _traits(preset), kind


def _traits(preset: Preset) -> set[str]:
    unknown = set() if preset.has_stream_usage else {"stream_options"}
    return {preset.base_url} | preset.drops | unknown | {name for pair in preset.renames for name in pair}


def test_every_metric_is_explained(root: Path) -> None:
    rows = table_rows(sections((root / "docs/operations.md").read_text())["Metrics"])
    assert [row[0].strip("`") for row in rows] == list(METRICS)


def test_every_limit_on_peers_is_told(root: Path) -> None:
    rows = table_rows(sections((root / "docs/operations.md").read_text())["Limits of the server"])
    shown = {code: row[1] for row in rows for code in _CODE.findall(row[0])}
    limits = msgspec.structs.asdict(PeerLimits())
    units = {name: f"{value:g} s" if name.endswith("_s") else str(value) for name, value in limits.items()}
    assert shown == units | {"head_bytes": f"{limits['head_bytes'] // 1024} KiB"}


def test_every_command_has_its_section(root: Path) -> None:
    found = sections((root / "docs/cli.md").read_text())
    for path, command in commands(typer.main.get_command(command_line)):
        if path == "dujiang serve":
            continue  # its options are process settings, below
        section = found["Command line" if path == "dujiang" else path]
        wanted = {name for parameter in parameters_of(command) for name in names_of(parameter)}
        assert wanted - codes(section) == set(), path


def test_every_option_of_serve_is_a_row_with_its_variable_and_default(root: Path) -> None:
    serve = dict(commands(typer.main.get_command(command_line)))["dujiang serve"]
    rows = table_rows(sections((root / "docs/operations.md").read_text())["Process settings"])
    shown = {tuple(row[:3]) for row in rows if row[0].startswith("`--")}
    wanted = {(f"`{each.opts[0]}`", f"`{each.envvar}`", _default(each.default)) for each in parameters_of(serve)}
    assert shown == wanted


def _default(value: object) -> str:
    if value is None or value is False:
        return "–"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_every_variable_is_named(root: Path, sources: dict[str, ast.Module]) -> None:
    constants = {
        node.value
        for path, tree in sources.items()
        if path.startswith("src/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    variables = {text for text in constants if re.fullmatch(r"DUJIANG(_[A-Z]+)+", text)}
    assert variables >= INTERNAL_VARIABLES
    assert variables - INTERNAL_VARIABLES - codes((root / "docs/operations.md").read_text()) == set()


def test_every_decision_is_listed(root: Path) -> None:
    pages = {page.name for page in (root / "docs/decisions").glob("0*.md")}
    index = (root / "docs/decisions/index.md").read_text()
    assert {page for page in pages if f"({page})" not in index} == set()


def test_the_performance_page_shows_the_last_result() -> None:
    if not GATEWAY.exists():
        pytest.skip("no benchmarks/results/gateway.json: run make bench-gateway")
    page = PAGE.read_text()
    assert with_tables(page, read_report(GATEWAY)) == page, "run python -m benchmarks.page"


@pytest.mark.parametrize("file", RECORDS.values(), ids=lambda file: file.stem)
def test_the_performance_page_shows_what_records_took(file: Path) -> None:
    if not file.exists():
        pytest.skip(f"no benchmarks/results/{file.name}: run make bench-records")
    page, report = PAGE.read_text(), read_records(file)
    assert f"<!-- {report.name}: begin -->" in page
    assert with_records(page, report) == page, "run python -m benchmarks.page"


# ---- what the pages show --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "README.zh.md", "docs/quickstart.md", "docs/quickstart.zh.md", *API])
def test_the_first_call_is_the_requirements_own(root: Path, page: str) -> None:
    assert ("/api/v1/chat/completions", REQUIRED_BODY) in bodies((root / page).read_text())


@pytest.mark.parametrize("page", ["README.md", "README.zh.md", "docs/quickstart.md", "docs/quickstart.zh.md"])
def test_the_first_answer_has_the_requirements_shape(root: Path, page: str) -> None:
    answer = json.loads(fences((root / page).read_text(), "json")[0])
    assert _holds(answer, REQUIRED_ANSWER)
    assert answer["request_id"] == REQUIRED_BODY["request_id"]


def _holds(value: Any, shape: dict[str, Any]) -> bool:
    return all(name in value and _holds(value[name], inner) for name, inner in shape.items())


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_valid(root: Path, page: str) -> None:
    text = (root / page).read_text()
    for path, body in bodies(text):
        wire = native if path.startswith("/api/") else openai
        assert wire.parse(json.dumps(body).encode()).request.messages
    for fence in fences(text, "json"):
        json.loads(fence)
    for fence in fences(text, "yaml"):
        read_document(fence.encode(), format="yaml")
    for fence in fences(text, "python"):
        ast.parse(fence)


@pytest.mark.parametrize("page", ["README.md", "README.zh.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_a_page_beside_the_docs_links_to_exists(root: Path, page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (root / page).read_text())
    assert [link for link in links if not link.startswith("https://") and not (root / link).exists()] == []


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_has_the_parts_of_its_original(root: Path, name: str) -> None:
    original, translation = ((root / f"{name}{ending}").read_text() for ending in (".md", ".zh.md"))
    assert [level for level, _ in headings(translation)] == [level for level, _ in headings(original)]
    assert [len(row) for row in table_rows(translation)] == [len(row) for row in table_rows(original)]
    languages = [[match[1] for match in _FENCE.finditer(text)] for text in (original, translation)]
    assert languages[0] == languages[1]


def test_the_readmes_lead_to_each_other(root: Path) -> None:
    assert "(README.zh.md)" in (root / "README.md").read_text()
    assert "(README.md)" in (root / "README.zh.md").read_text()

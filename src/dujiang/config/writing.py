"""From a tree of plain values to a text that reads as the same tree."""

import json
import math
from typing import Any, Literal

import yaml

from dujiang.config.strict_yaml import plain_value

_OTHER_LINE_ENDS = frozenset("\x85\u2028\u2029")


def write_tree(tree: dict[str, Any], format: Literal["yaml", "json"]) -> str:
    """Text for people: keys in their order, lines of a text as lines, letters of every script as themselves."""
    if format == "json":
        return json.dumps(tree, ensure_ascii=False, indent=2) + "\n"
    return yaml.dump(tree, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=math.inf)


class _Dumper(yaml.SafeDumper):
    """Writes what `strict_yaml` reads: no aliases, and quotes around what would not be text without them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, _style_of(text))


def _style_of(text: str) -> str | None:
    """As lines, as it is, or in quotes. YAML 1.1 takes three more characters for ends of lines and changes them."""
    if plain_value(text) != text or not _OTHER_LINE_ENDS.isdisjoint(text):
        return '"'
    return "|" if "\n" in text else None


_Dumper.add_representer(str, _represent_text)
_Dumper.add_multi_representer(dict, yaml.SafeDumper.represent_dict)

"""Properties of templates: places are filled once, and everything else is itself."""

import re
from collections import defaultdict

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dujiang.scenes.template import compile_template

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
NASTY = st.text() | st.text(alphabet="{}$%#a_7* ") | st.sampled_from(["{{a}}", "{{7*7}}", "${a}", "{0.__class__}"])


@settings(deadline=None)
@given(NASTY)
@example("{{7*7}} ${HOME} {0.__class__} %(x)s {{#each a}} {{ a }} {{a.b}} {{a|b}} {% a %} {{é}} {{}} {{1a}} {{a-b}}")
@example("{{{{")
def test_a_text_without_places_is_unchanged(text):
    if re.search(r"\{\{[A-Za-z_][A-Za-z0-9_]*\}\}", text):
        return
    template = compile_template(text)
    assert template.names == ()
    assert template.render({}) == text


@settings(deadline=None)
@given(st.lists(st.tuples(NASTY, NAMES)), NASTY)
def test_compiling_loses_nothing(pieces, tail):
    text = "".join(f"{before}{{{{{name}}}}}" for before, name in pieces) + tail
    template = compile_template(text)
    assert template.render({name: f"{{{{{name}}}}}" for name in template.names}) == text


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(alphabet="ab文 ."), NAMES), min_size=1), st.data())
def test_every_place_gets_its_value_once_and_nothing_in_a_value_is_a_place(pieces, data):
    names = {name for _, name in pieces}
    values = {name: data.draw(NASTY) for name in names}
    template = compile_template("".join(f"{before}{{{{{name}}}}}" for before, name in pieces))
    assert template.render(values) == "".join(before + values[name] for before, name in pieces)


@settings(deadline=None)
@given(NASTY, NAMES, NASTY)
def test_the_size_is_known_beforehand(text, name, value):
    template = compile_template(f"{text}{{{{{name}}}}}")
    values = defaultdict(lambda: value)
    assert template.size(values) == len(template.render(values).encode())

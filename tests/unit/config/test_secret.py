import copy
import pickle

import msgspec
import pytest

from dujiang.core.secret import Secret, read_secret

SECRET = Secret("sk-live")


@pytest.mark.parametrize(
    "text", [str(SECRET), repr(SECRET), f"{SECRET}", f"{SECRET!s:>3}", "".join(map(str, [SECRET])), repr([SECRET])]
)
def test_prints_as_a_mask(text):
    assert "sk-live" not in text
    assert "***" in text


@pytest.mark.parametrize("leak", [pickle.dumps, copy.deepcopy, msgspec.json.encode])
def test_is_not_serialised(leak):
    with pytest.raises(TypeError):
        leak(SECRET)


def test_is_a_value():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a")
    assert not Secret("")
    assert Secret("文").reveal() == "文"


def test_is_read_from_text_alone():
    assert msgspec.convert("a", Secret, dec_hook=read_secret) == Secret("a")
    with pytest.raises(NotImplementedError):
        read_secret(Secret, 1)

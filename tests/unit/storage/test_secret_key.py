"""Where the key of stored secrets comes from, and which ones are refused."""

import stat
import threading

import pytest

from dujiang.core.errors import Misconfigured
from dujiang.storage.encryption import EncryptionKey
from dujiang.storage.secret_key import FILE_NAME, OLD_VARIABLE, VARIABLE, make_key_file, open_keychain

GIVEN = "3c1f9a7e5b2d8064aa01bb23cc45dd67"
OLD = "an-older-one-9a7e5b2d8064aa01bb2"


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path):
    folder = tmp_path / "data"
    path = make_key_file(folder, {})
    assert path == folder / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    key = open_keychain(folder, {}).current
    assert make_key_file(folder, {}) is None
    assert open_keychain(folder, {}).current.id == key.id
    assert [each.name for each in folder.iterdir()] == [FILE_NAME]
    assert make_key_file(tmp_path / "other", {}) is not None
    assert open_keychain(tmp_path / "other", {}).current.id != key.id


def test_processes_that_make_it_at_once_agree(tmp_path):
    made = []
    threads = [threading.Thread(target=lambda: made.append(make_key_file(tmp_path, {}))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([each for each in made if each is not None]) == 1
    assert [each.name for each in tmp_path.iterdir()] == [FILE_NAME]
    open_keychain(tmp_path, {})


def test_a_given_key_needs_no_file(tmp_path):
    assert make_key_file(tmp_path, {VARIABLE: GIVEN}) is None
    assert open_keychain(tmp_path, {VARIABLE: GIVEN}).current.id == EncryptionKey(GIVEN.encode()).id
    assert list(tmp_path.iterdir()) == []


def test_without_any_key_it_says_what_to_do(tmp_path):
    with pytest.raises(Misconfigured, match=VARIABLE):
        open_keychain(tmp_path, {})


def test_the_file_and_the_old_variable_only_decrypt_beside_a_given_key(tmp_path):
    make_key_file(tmp_path, {})
    from_file = open_keychain(tmp_path, {}).current
    chain = open_keychain(tmp_path, {VARIABLE: GIVEN, OLD_VARIABLE: OLD})
    assert chain.current.id == EncryptionKey(GIVEN.encode()).id
    assert chain.find(from_file.id) is not None
    assert chain.find(EncryptionKey(OLD.encode()).id) is not None
    assert chain.find("0" * 16) is None


def test_a_key_file_can_be_given_as_the_old_key_by_its_text(tmp_path):
    path = make_key_file(tmp_path, {})
    assert path is not None
    before = open_keychain(tmp_path, {}).current
    text = path.read_text().strip()
    path.unlink()
    make_key_file(tmp_path, {})
    assert open_keychain(tmp_path, {OLD_VARIABLE: text}).find(before.id) is not None


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("", "32 to 1024"),
        ("short", "32 to 1024"),
        ("x" * 2000, "32 to 1024"),
        ("a" * 40, "repeats"),
        (GIVEN + "\n", "line break"),
        (GIVEN + " with spaces", "spaces"),
        ("change-me-change-me-change-me-please", "example"),
        ("CHANGE_THIS_TO_A_LONG_RANDOM_STRING_0", "example"),
        ("your-secret-key-of-at-least-32-characters", "example"),
    ],
)
def test_a_key_that_could_be_guessed_is_refused_and_not_repeated(tmp_path, key, fault):
    with pytest.raises(Misconfigured, match=fault) as refused:
        open_keychain(tmp_path, {VARIABLE: key})
    assert len(key) < 10 or key.strip() not in refused.value.message


def test_a_file_that_others_can_read_is_refused(tmp_path):
    path = make_key_file(tmp_path, {})
    assert path is not None
    path.chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        open_keychain(tmp_path, {})


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, b"x" * 5000])
def test_a_file_that_was_cut_or_replaced_is_refused(tmp_path, content):
    path = tmp_path / FILE_NAME
    path.touch(mode=0o600)
    path.write_bytes(content)
    assert make_key_file(tmp_path, {}) is None
    with pytest.raises(Misconfigured, match="restore it"):
        open_keychain(tmp_path, {})
    assert path.read_bytes() == content


def test_a_folder_that_takes_no_file_is_told(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(Misconfigured, match="cannot be written"):
        make_key_file(tmp_path / "data", {})

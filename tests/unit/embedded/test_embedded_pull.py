"""Pulling a model: the order of sources, what is refused, what survives an interruption."""

import threading
from itertools import pairwise

import pytest

from dujiang.providers.embedded.cache import placed, write_stamp
from dujiang.providers.embedded.lock import locked
from dujiang.providers.embedded.pull import PullFailed, forget_if_broken, pull
from dujiang.providers.embedded.registry import UrlSource


def part_of(directory):
    (part,) = (directory / "partial").glob("*.part")
    return part


def test_a_pulled_model_is_placed_stamped_and_leaves_nothing_behind(tmp_path, file_server, tiny_model, report, content):
    model = tiny_model(UrlSource(f"{file_server.base}/tiny.gguf"))
    path = pull(model, tmp_path, {}, report)
    assert path.read_bytes() == content
    assert placed(model, tmp_path) == path
    assert report.progress[-1] == len(content)
    assert all(before < after for before, after in pairwise(report.progress))
    assert {file.name for file in (tmp_path / "partial").iterdir()} == {"tiny.gguf.lock"}


def test_a_placed_model_is_not_fetched_again(tmp_path, file_server, tiny_model, report):
    model = tiny_model(UrlSource(file_server.base))
    assert pull(model, tmp_path, {}, report) == pull(model, tmp_path, {}, report)
    assert len(file_server.ranges) == 1


def test_a_cut_download_goes_on_where_it_was(tmp_path, file_server, tiny_model, report, content):
    file_server.cut_after = [300_000, 200_000]
    path = pull(tiny_model(UrlSource(file_server.base)), tmp_path, {}, report)
    assert path.read_bytes() == content
    assert file_server.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_a_second_run_goes_on_where_the_first_was_interrupted(tmp_path, file_server, tiny_model, report, content):
    model = tiny_model(UrlSource(file_server.base))

    class Interrupting(type(report)):
        def received(self, done_bytes, total_bytes):
            if done_bytes > 400_000:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(model, tmp_path, {}, Interrupting())
    held = part_of(tmp_path).stat().st_size
    assert 0 < held < len(content)
    assert pull(model, tmp_path, {}, report).read_bytes() == content
    assert file_server.ranges == [None, f"bytes={held}-"]


def test_a_server_without_ranges_sends_all_again(tmp_path, file_server, tiny_model, report, content):
    file_server.cut_after = [300_000]
    file_server.ignores_range = True
    assert pull(tiny_model(UrlSource(file_server.base)), tmp_path, {}, report).read_bytes() == content


def test_a_server_that_sends_nothing_more_is_given_up(tmp_path, file_server, tiny_model, report):
    file_server.cut_after = [300_000, 0]
    with pytest.raises(PullFailed, match=r"it broke off \(IncompleteRead\); run it again to go on"):
        pull(tiny_model(UrlSource(file_server.base)), tmp_path, {}, report)
    assert part_of(tmp_path).stat().st_size == 300_000


def test_redirects_are_followed(tmp_path, file_server, tiny_model, report, content):
    file_server.redirects = 2
    assert pull(tiny_model(UrlSource(file_server.base)), tmp_path, {}, report).read_bytes() == content


def test_the_next_source_is_asked_and_every_failure_is_named(tmp_path, file_server, tiny_model, report):
    file_server.status = 404
    model = tiny_model(UrlSource(f"{file_server.base}/a?token=hidden"), UrlSource("http://127.0.0.1:1/b"))
    with pytest.raises(PullFailed) as failed:
        pull(model, tmp_path, {}, report)
    message = str(failed.value)
    assert f"{file_server.base}/a: it answered 404 Not Found" in message
    assert "http://127.0.0.1:1/b: no connection: " in message
    assert "DUJIANG_MODEL_FILE=/path/to/tiny.gguf dujiang models pull tiny" in message
    assert "https://models.example/tiny" in message
    assert "hidden" not in message
    assert [refusal.source for refusal in failed.value.refusals] == [f"{file_server.base}/a", "http://127.0.0.1:1/b"]


def test_wrong_bytes_are_refused_and_their_source_named(tmp_path, file_server, tiny_model, report, content):
    file_server.content = content[:-1] + b"!"
    with pytest.raises(PullFailed, match=r"/evil: it serves wrong bytes: SHA-256 [0-9a-f]{64} instead of"):
        pull(tiny_model(UrlSource(f"{file_server.base}/evil")), tmp_path, {}, report)
    assert not (tmp_path / "tiny.gguf").exists()
    assert list((tmp_path / "partial").glob("*.part")) == []


@pytest.mark.parametrize("change", [-1, 1])
def test_another_size_is_refused_before_the_download(tmp_path, file_server, tiny_model, report, content, change):
    file_server.content = (content + b"x")[: len(content) + change]
    with pytest.raises(PullFailed, match=r"it serves 1,048,57\d bytes, the official file has 1,048,576"):
        pull(tiny_model(UrlSource(file_server.base)), tmp_path, {}, report)
    assert report.progress == []


def test_a_damaged_part_is_started_over_once(tmp_path, file_server, tiny_model, report, content):
    model = tiny_model(UrlSource(file_server.base))
    file_server.cut_after = [300_000, 0]
    with pytest.raises(PullFailed):
        pull(model, tmp_path, {}, report)
    part_of(tmp_path).write_bytes(b"?" * 300_000)
    assert pull(model, tmp_path, {}, report).read_bytes() == content
    assert file_server.ranges[2:] == ["bytes=300000-", None]


def test_an_address_with_a_password_is_refused_and_not_shown(tmp_path, tiny_model, report):
    with pytest.raises(PullFailed) as failed:
        pull(tiny_model(), tmp_path, {"DUJIANG_MODEL_MIRROR": "https://me:hunter2@mirror.example/models"}, report)
    assert "https://mirror.example/models/tiny.gguf: an address with a user name or password" in str(failed.value)
    assert "hunter2" not in str(failed.value) + "".join(report.notes)


def test_the_operators_file_comes_first(tmp_path, file_server, tiny_model, report, content):
    own = tmp_path / "own.gguf"
    own.write_bytes(content)
    environ = {"DUJIANG_MODEL_FILE": str(own), "DUJIANG_MODEL_MIRROR": file_server.base}
    path = pull(tiny_model(UrlSource(file_server.base)), tmp_path / "cache", environ, report)
    assert path.read_bytes() == content
    assert file_server.ranges == []


@pytest.mark.parametrize("has_it", [True, False])
def test_a_mirror_may_be_a_folder(tmp_path, tiny_model, report, content, has_it):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    environ = {"DUJIANG_MODEL_MIRROR": str(mirror)}
    if has_it:
        (mirror / "tiny.gguf").write_bytes(content)
        assert pull(tiny_model(), tmp_path / "cache", environ, report).read_bytes() == content
    else:
        with pytest.raises(PullFailed, match=r"mirror/tiny.gguf: No such file or directory"):
            pull(tiny_model(), tmp_path / "cache", environ, report)


def test_a_mirror_may_be_an_address(tmp_path, file_server, tiny_model, report, content):
    environ = {"DUJIANG_MODEL_MIRROR": file_server.base + "/"}
    assert pull(tiny_model(), tmp_path, environ, report).read_bytes() == content
    assert report.notes[0] == f"From {file_server.base}/tiny.gguf"


def test_an_operators_file_of_another_size_is_named(tmp_path, file_server, tiny_model, report, content):
    own = tmp_path / "own.gguf"
    own.write_bytes(content[:10])
    pull(tiny_model(UrlSource(file_server.base)), tmp_path / "cache", {"DUJIANG_MODEL_FILE": str(own)}, report)
    assert f"Not from {own}: it has 10 bytes, the official file has 1,048,576" in report.notes


def test_a_full_disk_is_told_before_the_download(tmp_path, file_server, tiny_model, report):
    model = tiny_model(UrlSource(file_server.base))
    with pytest.raises(PullFailed, match=r"has 1 MB free and 68 MB are needed.*DUJIANG_CACHE_DIR"):
        pull(model, tmp_path, {}, report, free_bytes=lambda folder: 1_000_000)
    assert file_server.ranges == []


def test_a_file_put_there_by_hand_is_checked_and_stamped(tmp_path, tiny_model, report, content):
    model = tiny_model()
    (tmp_path / model.file).write_bytes(content)
    assert pull(model, tmp_path, {}, report) == tmp_path / model.file
    assert placed(model, tmp_path)


def test_a_damaged_file_is_forgotten_and_replaced(tmp_path, file_server, tiny_model, report, content):
    model = tiny_model(UrlSource(file_server.base))
    (tmp_path / model.file).write_bytes(content[::-1])
    write_stamp(model, tmp_path)
    assert forget_if_broken(model, tmp_path)
    assert placed(model, tmp_path) is None
    assert pull(model, tmp_path, {}, report).read_bytes() == content
    assert not forget_if_broken(model, tmp_path)


def test_two_pulls_at_once_make_one_download(tmp_path, file_server, tiny_model, report, content):
    model = tiny_model(UrlSource(file_server.base))
    (tmp_path / "partial").mkdir()
    reports = [report, type(report)()]
    threads = [threading.Thread(target=pull, args=(model, tmp_path, {}, each)) for each in reports]
    with locked(tmp_path / "partial" / "tiny.gguf.lock", 1.0, lambda: None):
        for thread in threads:
            thread.start()
        while not all("Another process" in "".join(each.notes) for each in reports):
            assert any(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    assert placed(model, tmp_path)
    assert len(file_server.ranges) == 1


def test_a_lock_is_not_waited_for_without_end(tmp_path):
    path = tmp_path / "lock"
    with locked(path, 1.0, lambda: None), pytest.raises(TimeoutError, match="another process has held"):  # noqa: SIM117
        with locked(path, 0.0, lambda: None):
            pass

"""What is kept between runs: whole or not at all, never the reason of a failure, made once by several processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

import factcli
from factcli.files import caches
from factcli.files.caches import cache_directory, find, keep, making

from .training_helpers import rows as make_rows
from .training_helpers import save_model, write_csv, write_glue


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(caches, "_said", set())
    return tmp_path / "cache" / "kind"


def entry(key: str, numbers: int = 8) -> bool:
    return keep("kind", key, {"x": torch.ones(numbers)}, {"said": key}) is not None


def value(key: str) -> Any:
    found = find("kind", key)
    return None if found is None else (found[1], found[0].get_tensor("x").sum().item())


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path))
    assert cache_directory("a") == tmp_path / "a"
    monkeypatch.delenv("FACTCLI_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_directory("a") == tmp_path / "xdg" / "factcli" / "a"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_directory("a") == tmp_path / ".cache" / "factcli" / "a"


def test_the_newest_stays_however_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "LIMIT", 700)
    for number, key in enumerate(("old", "older")):
        assert entry(key)
        os.utime(folder / f"{key}.safetensors", (10 - number, 10 - number))
    assert value("old") == ({"said": "old"}, 8.0)  # and is used now
    entry("small", 100)
    assert [key for key in ("old", "older", "small") if value(key)] == ["old", "small"]
    assert entry("large", 10_000)
    assert [p.name for p in folder.iterdir()] == ["large.safetensors"]
    assert value("large") == ({"said": "large"}, 10_000.0)
    entry("next")
    assert [p.name for p in folder.iterdir()] == ["next.safetensors"]


def test_what_killed_processes_left_goes(folder: Path) -> None:
    """Of the same key at once, its lock being ours; of others when it is a day old."""
    entry("a")
    names = [".b.safetensors.0123456789ab.partial", ".c.safetensors.0123456789ab.partial", ".d.lock", ".e.lock"]
    for name in names:
        (folder / name).write_text("half")
    for name in names[1:3]:
        os.utime(folder / name, (10, 10))
    with making("kind", "b") as kept:
        assert kept
        entry("b")
    assert sorted(p.name for p in folder.iterdir()) == [".e.lock", "a.safetensors", "b.safetensors"]


def test_a_place_that_cannot_be_written_is_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.write_text("a file")
    for _ in range(2):
        with making("kind", "a") as kept:
            assert not kept
        assert not entry("a")
    assert caplog.text.count("what is computed is not kept for other runs") == 1
    assert "Not a directory" in caplog.text or "File exists" in caplog.text


def test_a_cache_for_reading_only_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry("a")

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "touch", refused)
    assert value("a") == ({"said": "a"}, 8.0)


def test_a_full_disk_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import resource

    entry("a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        assert not entry("b", 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in folder.iterdir()] == ["a.safetensors"]
    assert "what is computed is not kept" in caplog.text


def test_who_waits_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = []

    def wait() -> None:
        with making("kind", "a"):
            found.append(value("a"))

    waits = Thread(target=wait)
    with making("kind", "a"):
        waits.start()
        while not caplog.messages:
            assert waits.is_alive()
            time.sleep(0.01)
        entry("a")
    waits.join()
    assert caplog.messages == [f"Waiting for another process, which computes the same for {folder}."]
    assert found == [({"said": "a"}, 8.0)]


def test_several_processes_compute_once(folder: Path, tmp_path: Path) -> None:
    """The first is killed as it computes: the second takes over, the third waits for it and reads."""
    script = """
import sys, time
from pathlib import Path
import torch
from factcli.files.caches import find, keep, making
log, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
input()
found = find("kind", "key")
if found is None:
    with making("kind", "key"):
        found = find("kind", "key")
        if found is None:
            with log.open("a") as stream:
                stream.write(name)
            time.sleep(600 if name == "a" else 0.5)
            found = keep("kind", "key", {"x": torch.ones(3)}, {"by": name})
print(found[1]["by"], flush=True)
"""
    log = tmp_path / "log"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(log), name], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        for name in "abc"
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        while not log.is_file():
            assert process.poll() is None
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait(60)
    said = [process.communicate(timeout=120)[0].strip() for process in processes[1:]]
    assert log.read_text() == f"a{said[0]}"
    assert said[0] == said[1]
    assert [p.name for p in folder.iterdir()] == ["key.safetensors"]


def test_a_training_and_a_conversion_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The teacher speaks for itself, and the statistics are used as they are."""
    monkeypatch.setattr(caches, "_said", set())
    base = save_model(tmp_path / "base")
    teacher = save_model(tmp_path / "teacher", head="BertForSequenceClassification")
    write_glue(tmp_path / "glue", "sst2", train=16, validation=16)
    options: dict[str, Any] = {"task": "sst2", "data_dir": tmp_path / "glue", "max_steps": 1, "batch_size": 8,
                               "device": "cpu", "teacher": str(teacher)}  # fmt: skip
    plain = factcli.finetune(str(base), tmp_path / "plain", **options)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path / "file"))
    cached = factcli.finetune(str(base), tmp_path / "cached", teacher_cache=True, **options)
    assert cached["metrics"] == plain["metrics"]
    texts = write_csv(tmp_path / "texts.csv", make_rows(16, 0))  # type: ignore[arg-type]
    result = factcli.convert(str(base), tmp_path / "small", keep=0.5, criterion="activation", calibration=str(texts))
    assert not result["calibration"]["cached"]
    assert caplog.text.count("is not kept for other runs") == 2  # two folders

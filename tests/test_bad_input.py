"""Bad input: one sentence, exit code 1 or 2, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from factcli.cli import main

from . import tiny
from .conftest import Run

Fail = Callable[..., str]


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    tiny.make("bert").save_pretrained(tmp_path / "dense")
    return tmp_path / "dense"


@pytest.fixture
def fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fail:
    """Runs the command in this process; checks that it failed with one line and left nothing; returns the line."""

    def run(*args: str | Path, code: int = 1) -> str:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["factcli", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main()
        out, err = capsys.readouterr()
        assert exit_info.value.code == code, err
        assert out == ""
        assert err.count("\n") == 1, err
        assert err.startswith("Error: ")
        assert "Unexpected" not in err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (
            ["--keep", "0.5", "--rank", "3"],
            2,
            "exactly one of --params, --keep, --rank and --max-mb, not --keep and --rank",
        ),
        ([], 2, "exactly one"),
        (["--params", "banana"], 2, "'banana' is not a count"),
        (["--keep", "1.5"], 2, "between 0 and 1"),
        (["--keep", "0.0001"], 1, "feasible range"),
        (["--params", "1k"], 1, "feasible range is"),
        (["--params", "44M"], 1, "not below the dense model"),
        (["--rank", "0"], 2, "below 1"),
        (["--rank", "500"], 1, "stay dense"),
        (["--keep", "0.5", "--method", "monarh"], 2, "did you mean 'monarch'"),
        (["--keep", "0.5", "--criterion", "frobenus"], 2, "did you mean 'frobenius'"),
        (["--keep", "0.5", "--allocation", "unifrom"], 2, "did you mean 'uniform'"),
        (["--keep", "0.5", "--method", "monarch", "--blocks", "5"], 2, "2, 4, 8, 16, 32 would work"),
        (["--keep", "0.5", "--method", "monarch", "--blocks", "0"], 2, "below 1"),
        (["--keep", "0.5", "--include", "nothing"], 1, "matches no target"),
        (["--keep", "0.5", "--include", "("], 2, "not a regular expression"),
        (["--keep", "0.5", "--exclude", "."], 1, "leave no target"),
        (["--keep", "0.5", "--dtype", "int8"], 2, "float32, float16, bfloat16"),
        (["--keep", "0.5", "--device", "cuda"], 1, "--device cpu"),
        (["--keep", "0.5", "--device", "toaster"], 2, "unknown"),
        (["--keep", "0.5", "-c", "no-such.yaml"], 1, "Cannot read the recipe"),
    ],
)
def test_options(options: list[str], code: int, said: str, dense: Path, tmp_path: Path, fail: Fail) -> None:
    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert said in fail("convert", dense, *options, "-o", tmp_path / "out", code=code)


def test_not_a_directory(tmp_path: Path, fail: Fail) -> None:
    assert "is not a directory" in fail("convert", tmp_path / "nowhere", "--keep", "0.5", "-o", tmp_path / "out")


def test_no_config(tmp_path: Path, fail: Fail) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in fail("convert", tmp_path / "empty", "--keep", "0.5", "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "not a JSON object"),
        ('{"model_type": "marvellous"}', "does not know"),
        ('{"model_type": "bert", "hidden_size": "wide"}', "refuses"),
        ('{"model_type": "custom", "auto_map": {"AutoModel": "m.M"}}', "--trust-remote-code"),
        ('{"model_type": "bert", "quantization_config": {}}', "quantized"),
    ],
)
def test_bad_config(text: str, said: str, dense: Path, tmp_path: Path, fail: Fail) -> None:
    (dense / "config.json").write_text(text)
    assert said in fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "out")


def test_custom_code_with_trust_is_not_exported(dense: Path, tmp_path: Path, fail: Fail) -> None:
    (dense / "config.json").write_text('{"model_type": "custom", "auto_map": {"AutoModel": "m.M"}}')
    said = fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "out", "--trust-remote-code")
    assert "outside transformers" in said


def test_weights_missing(dense: Path, tmp_path: Path, fail: Fail) -> None:
    (dense / "model.safetensors").unlink()
    assert "model.safetensors is missing" in fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "out")


def test_pickle_only(dense: Path, tmp_path: Path, fail: Fail) -> None:
    (dense / "model.safetensors").rename(dense / "pytorch_model.bin")
    assert "pickled weights" in fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "out")


@pytest.mark.parametrize("part", [0.5, 0.001, 0.0])
def test_weights_cut(part: float, dense: Path, tmp_path: Path, fail: Fail) -> None:
    data = (dense / "model.safetensors").read_bytes()
    (dense / "model.safetensors").write_bytes(data[: int(part * len(data))])
    assert "cut short" in fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "out")


def test_a_shard_is_missing(tmp_path: Path, fail: Fail) -> None:
    tiny.make("bert").save_pretrained(tmp_path / "dense", max_shard_size="20KB")
    next(iter((tmp_path / "dense").glob("model-00002*"))).unlink()
    assert "is missing" in fail("convert", tmp_path / "dense", "--keep", "0.5", "-o", tmp_path / "out")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["encoder.layer.1.output.dense.weight", "embeddings.word_embeddings.weight"])
def test_nan_or_infinity(name: str, value: float, dense: Path, tmp_path: Path, fail: Fail) -> None:
    tensors = load_file(dense / "model.safetensors")
    tensors[name][3, 5] = value
    save_file(tensors, dense / "model.safetensors", {"format": "pt"})
    assert name in fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "out")


def test_a_block_weight_is_missing(dense: Path, tmp_path: Path, fail: Fail) -> None:
    tensors = load_file(dense / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, dense / "model.safetensors", {"format": "pt"})
    said = fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "out")
    assert "encoder.layer.1.output.dense.weight" in said


def test_a_model_without_targets(tmp_path: Path, fail: Fail) -> None:
    import transformers

    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic")
    transformers.ResNetModel(config).save_pretrained(tmp_path / "dense")
    said = fail("convert", tmp_path / "dense", "--keep", "0.5", "-o", tmp_path / "out")
    assert "nothing to factorize" in said


def test_already_factorized(dense: Path, tmp_path: Path, fail: Fail) -> None:
    from factcli import convert

    convert(str(dense), tmp_path / "small", keep=0.5)
    assert "already factorized" in fail("convert", tmp_path / "small", "--keep", "0.5", "-o", tmp_path / "out")


def test_output_exists(dense: Path, tmp_path: Path, fail: Fail) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("kept")
    assert "--overwrite" in fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "out")
    assert (tmp_path / "out" / "precious").read_text() == "kept"
    (tmp_path / "file").write_text("")
    assert "is a file" in fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "file", "--overwrite")


def test_a_failure_keeps_what_overwrite_would_replace(dense: Path, tmp_path: Path, fail: Fail) -> None:
    from factcli import convert

    convert(str(dense), tmp_path / "out", keep=0.5)
    data = (dense / "model.safetensors").read_bytes()
    (dense / "model.safetensors").write_bytes(data[:-4])
    fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "out", "--overwrite")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_parent_of_output(dense: Path, tmp_path: Path, fail: Fail) -> None:
    assert "is not a directory" in fail("convert", dense, "--keep", "0.5", "-o", tmp_path / "a" / "b")


def test_parent_not_writable(dense: Path, tmp_path: Path, fail: Fail) -> None:
    if os.geteuid() == 0:
        target = Path("/proc/factcli-out")  # even root cannot write there
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        target = tmp_path / "locked" / "out"
    said = fail("convert", dense, "--keep", "0.5", "-o", target)
    assert "not writable" in said


def test_usage_errors_of_the_command_line(dense: Path, factcli: Run) -> None:
    for args in (["convert"], ["convert", str(dense), "--rank", "many"], ["no-such-command"]):
        done = factcli(*args)
        assert done.returncode == 2, args
        assert done.stdout == ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no right to mount a small disk: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_disk_full(dense: Path, small_disk: Path, fail: Fail) -> None:
    assert "full" in fail("convert", dense, "--keep", "0.9", "-o", small_disk / "out")
    assert list(small_disk.iterdir()) == []


def test_sigkill_at_any_moment(tmp_path: Path, factcli: Run, world: dict[str, str]) -> None:
    source, out = tmp_path / "dense", tmp_path / "out"
    tiny.make("bert", hidden_size=256, intermediate_size=1024, num_hidden_layers=6).save_pretrained(source)
    command = [sys.executable, "-m", "factcli", "convert", str(source), "--keep", "0.5", "-o", str(out), "-q"]
    killed = 0
    for delay in (0.0, 0.1, 0.3, 0.5):
        with subprocess.Popen(command, env=world, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not list(tmp_path.glob(".out.*.partial")):
                time.sleep(0.005)
            time.sleep(delay)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
        if out.exists():  # it was faster: then it must be whole
            break
    assert killed > 0
    done = factcli("convert", source, "--keep", "0.5", "-o", out, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dense", "out"]
    assert factcli("inspect", out).returncode == 0


def test_interrupt(tmp_path: Path, world: dict[str, str]) -> None:
    source, out = tmp_path / "dense", tmp_path / "out"
    tiny.make("bert", hidden_size=512, intermediate_size=2048, num_hidden_layers=12).save_pretrained(source)
    command = [sys.executable, "-m", "factcli", "convert", str(source), "--keep", "0.5", "-o", str(out), "-q"]
    with subprocess.Popen(
        command, env=world, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:  # fmt: skip
        while process.poll() is None and not list(tmp_path.glob(".out.*.partial")):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate()
    assert process.returncode == 130, said
    assert printed == ""
    assert "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == ["dense"]

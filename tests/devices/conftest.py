"""The device of these tests, and what they convert and train."""

import os
from pathlib import Path

import pytest
import torch

from ..healing.made import save_teacher, write_texts
from ..training_helpers import rows, save_model, write_csv, write_glue

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is what `pytest -m gpu` runs."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> str:
    """FACTCLI_TEST_DEVICE, else the GPU where there is one."""
    return os.environ.get("FACTCLI_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def on_gpu(device: str) -> bool:
    return device.startswith("cuda")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, cache: None) -> Path:
    """Below it: models (plain, of classes, of vectors), texts with labels, texts without, a task."""
    folder = tmp_path_factory.mktemp("devices")
    save_model(folder / "base")
    save_model(folder / "classes", "bert", "BertForSequenceClassification")
    save_teacher(folder, "embedding")
    write_csv(folder / "rows.csv", list(rows(48, 5)))
    write_texts(folder / "texts.txt", 70)
    write_glue(folder / "glue", "sst2", train=96)
    return folder

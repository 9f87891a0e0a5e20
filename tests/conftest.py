"""One thread per test process: the tests' tensors are small, and the processes run side by side."""

import pytest

from adm import openmp

openmp.configure(threads=1)  # before torch is loaded


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of slow tests, so that the processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)

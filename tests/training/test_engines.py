"""The same command under each engine -> the weights and images of one process, bit for bit."""

import os

import launch
import pytest
import tiny

from adm.app import mpi

OPEN_MPI = {"WORLD_SIZE": "OMPI_COMM_WORLD_SIZE", "RANK": "OMPI_COMM_WORLD_RANK"}
MPICH = {"WORLD_SIZE": "PMI_SIZE", "RANK": "PMI_RANK", "LOCAL_RANK": "MPI_LOCALRANKID"}


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in mpi.NAMES:
        monkeypatch.setenv(name, "")  # so that what is set is removed again
        monkeypatch.delenv(name)


@pytest.mark.parametrize("names", [OPEN_MPI, MPICH])
def test_a_rank_of_mpi_is_one_of_torchrun_s(names, monkeypatch):
    for number, (name, theirs) in enumerate(names.items(), 2):
        monkeypatch.setenv(theirs, f"{number}")
    mpi.configure()
    assert {name: os.environ[name] for name in names} == {
        name: f"{number}" for number, name in enumerate(names, 2)
    }


def test_a_launcher_that_mpi_has_started_counts_first(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    mpi.configure()
    assert os.environ["WORLD_SIZE"] == "4"
    assert "RANK" not in os.environ

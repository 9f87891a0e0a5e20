"""Environment of a process that MPI started -> that of torchrun, which torch.distributed reads.

`accelerate launch --cpu --num_processes N` starts its processes with mpirun, if it has a file of
hosts, and else a single one.
"""

import os

# Of torchrun -> of Open MPI, and of MPICH and Intel MPI.
NAMES = {
    "WORLD_SIZE": ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"),
    "RANK": ("OMPI_COMM_WORLD_RANK", "PMI_RANK"),
    "LOCAL_RANK": ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"),
    "LOCAL_WORLD_SIZE": ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"),
}


def configure() -> None:
    """Set rank and number of ranks as MPI has them, unless another launcher has set them."""
    if "WORLD_SIZE" in os.environ:
        return
    for name, others in NAMES.items():
        for other in others:
            if other in os.environ:
                os.environ[name] = os.environ[other]


def is_left_alone() -> bool:
    """Return whether accelerate was to start several processes, and has started this one only."""
    return "WORLD_SIZE" not in os.environ and {*os.environ} >= {"ACCELERATE_USE_CPU", "MASTER_ADDR"}

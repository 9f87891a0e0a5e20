"""A training run on two machines of eight GPUs through Slurm: pip install submitit.

    python examples/slurm.py 64x64-diffusion --data /shared/imagenet --out /shared/runs/64

All words are handed to `adm train`. A job that meets its time limit is queued again, and goes on
from its newest checkpoint.
"""

import sys

import submitit


class Training:
    """What every process does; Slurm starts one for each GPU."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(self) -> None:
        # Tells torch which of the processes this is, and where the first one listens.
        submitit.helpers.TorchDistributedEnvironment().export()
        from adm.cli import main

        try:
            main(["train", *self.words])
        except SystemExit as end:  # a command ends so; for submitit it would be a failure
            if end.code:
                raise

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called when time is nearly over: the same command, queued again, continues."""
        return submitit.helpers.DelayedSubmission(self)


if __name__ == "__main__":
    executor = submitit.AutoExecutor(folder="slurm-logs")
    executor.update_parameters(
        nodes=2,
        tasks_per_node=8,
        gpus_per_node=8,
        cpus_per_task=8,
        timeout_min=24 * 60,
        slurm_signal_delay_s=120,
    )
    print(executor.submit(Training(sys.argv[1:])).job_id)

"""Arguments of `adm train` -> Slurm job on two machines of eight GPUs.

    pip install submitit
    python examples/slurm.py 64x64-diffusion --data /shared/imagenet --out /shared/runs/64

A job that reaches its time limit is queued again and continues from its newest checkpoint.
"""

import sys

import submitit


class Training:
    """The work of one process; Slurm starts one process for each GPU."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(self) -> None:
        # Sets the variables from which torch.distributed reads rank and address.
        submitit.helpers.TorchDistributedEnvironment().export()
        from adm.app.cli import main

        try:
            main(["train", *self.words])
        except SystemExit as end:  # ends every command; submitit would report a failure
            if end.code:
                raise

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Queue the same command again, which continues; called shortly before the time limit."""
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

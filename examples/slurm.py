"""Arguments of `adm` -> a Slurm job of processes that share the work.

    pip install submitit
    python examples/slurm.py 2 8 train 64x64-diffusion --data /shared/imagenet --out /shared/runs/64

The first words are the number of machines, and of processes on each, which have a GPU each. A job
that is preempted, or reaches its time limit, is queued again and continues from its newest
checkpoint. Without Slurm, the processes are started here.
"""

import sys

import submitit


class Work:
    """The work of one process; Slurm starts one process for each GPU."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(self) -> None:
        # Sets the variables from which torch.distributed reads rank and address. All GPUs of the
        # machine stay visible, of which `adm` takes that of its local rank.
        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        from adm.app.cli import main

        try:
            main(self.words)
        except SystemExit as end:  # ends every command; submitit would report a failure
            if end.code:
                raise

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Queue the same command again, which continues; called shortly before the time limit."""
        return submitit.helpers.DelayedSubmission(self)


def submit(machines: int, processes: int, words: list[str]) -> submitit.Job[None]:
    """Queue a command of `adm`."""
    executor = submitit.AutoExecutor(folder="slurm-logs")
    executor.update_parameters(
        nodes=machines,
        tasks_per_node=processes,
        timeout_min=24 * 60,
        gpus_per_node=processes,
        cpus_per_task=8,
        slurm_signal_delay_s=120,
    )
    return executor.submit(Work(words))


if __name__ == "__main__":
    job = submit(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    print(job.job_id)
    if isinstance(job, submitit.LocalJob):
        job.results()

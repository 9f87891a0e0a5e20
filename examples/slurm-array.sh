#!/bin/bash
# Arguments of `adm sample` -> a sample folder, of which every task of a Slurm array makes a part.
#
#   sbatch --array=1-32 examples/slurm-array.sh imagenet256-guided --count 50000 --out /shared/many
#
# Tasks run whenever there is place, in any order; the last one writes the folder. A task that is
# preempted, or reaches its time limit, is queued again with the batches that it has finished. After
# a change of the array's size, the same folder goes on.
#
#SBATCH --job-name=adm-sample
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@60
#SBATCH --output=slurm-logs/%A-%a.out

again() {
    kill -TERM "$work" # ends tidily, and leaves its batches
    wait "$work"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}
trap again USR1

python -m adm sample "$@" --part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" &
work=$!
wait "$work"

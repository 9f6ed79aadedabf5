#!/usr/bin/env bash
# A folder of studies on many machines: one shard for each task of a job array.
#
#   STUDIES=/share/studies OUTPUT=/share/output MODEL=/share/run sbatch slurm.sh
#
# IMAGE=mri-n2n.sif runs it from a container (Apptainer: read-only, as the user, nothing of the machine but these three
# folders); without, `mri-n2n` is on the PATH. OPTIONS are more of `mri-n2n batch`, in one string: "--simulate --grace 60".
# A task whose time is up, or that crashed, is queued again; one that is cancelled is not. Another number of shards:
# SHARDS=16 sbatch --array=0-15 slurm.sh. Single ones again: sbatch --array=3,5 slurm.sh.
#SBATCH --job-name=mri-n2n
#SBATCH --array=0-7
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=mri-n2n-%A-%a.log
set -euo pipefail

: "${STUDIES:?the folder of studies}" "${OUTPUT:?the folder for what is made}" "${MODEL:?the folder of the run}"
: "${SLURM_ARRAY_TASK_ID:?this script is for sbatch --array}"
shards=${SHARDS:-8} # as --array above
most=10 # times that a task is queued again
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
read -ra options <<< "${OPTIONS:-}"

if [[ -n ${IMAGE:-} ]]; then
    mkdir -p "$OUTPUT"
    bind=("--bind" "$STUDIES:/studies:ro" "--bind" "$MODEL:/model:ro" "--bind" "$OUTPUT:/output")
    batch=(apptainer run --containall --no-home --env "OMP_NUM_THREADS=$OMP_NUM_THREADS" "${bind[@]}" "$IMAGE")
    batch+=(batch /studies /output --model /model)
else
    batch=(mri-n2n batch "$STUDIES" "$OUTPUT" --model "$MODEL")
fi

signalled='' cancelled=''
# shellcheck disable=SC2329 # it is invoked, by trap
stop() {
    signalled=1
    if ((${SLURM_JOB_END_TIME:-0} - $(date +%s) > 300)); then cancelled=1; fi
    kill -TERM "$child" 2> /dev/null || true
}

# In the background: a shell that waits for what is in front of it heeds no signal.
"${batch[@]}" --shard "$SLURM_ARRAY_TASK_ID/$shards" "${options[@]}" &
child=$!
trap stop TERM INT
code=0
wait "$child" || code=$?
while [[ -n $signalled && $code -gt 128 ]]; do # a signal ended the waiting, and not the batch
    signalled='' code=0
    wait "$child" || code=$?
done

case $code in
    0 | 2 | 3) ;; # done; or it would end the same again
    *)
        if [[ -z $cancelled ]] && ((${SLURM_RESTART_COUNT:-0} < most)); then
            scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
        fi
        ;;
esac
exit "$code"

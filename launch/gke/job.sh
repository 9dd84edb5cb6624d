#!/usr/bin/env bash
# The same run on Google Kubernetes Engine, as a JobSet, which restarts it when it
# is preempted. The cluster and its TPU node pool are yours (launch/README.md).
# DRY_RUN=1 prints the commands, quoted.
#
#   bash launch/gke/job.sh image          builds and pushes $BYOL_IMAGE
#   bash launch/gke/job.sh render ARGS... the manifest for byol_jax.main ARGS
#   bash launch/gke/job.sh run ARGS...    applies it
#   bash launch/gke/job.sh xpk ARGS...    the same by `xpk workload create`
#   bash launch/gke/job.sh logs [-f]      of the first host
#   bash launch/gke/job.sh status
#   bash launch/gke/job.sh delete         ends the run, saved, and deletes the JobSet
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

kubectl_tool() { tool kubectl https://kubernetes.io/docs/tasks/tools; }

# shape: checks BYOL_ACCELERATOR; sets GKE_ACCELERATOR, TOPOLOGY, CHIPS (of a host).
# https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus
shape() {
  local chips
  need BYOL_NAME BYOL_ACCELERATOR BYOL_IMAGE
  check_name
  accelerator
  case "$GENERATION" in
    v4) GKE_ACCELERATOR=tpu-v4-podslice chips=$((SIZE / 2)) ;;
    v5p) GKE_ACCELERATOR=tpu-v5p-slice chips=$((SIZE / 2)) ;;
    v5litepod) GKE_ACCELERATOR=tpu-v5-lite-podslice chips="$SIZE" ;;
    v6e) GKE_ACCELERATOR=tpu-v6e-slice chips="$SIZE" ;;
    *) die "BYOL_ACCELERATOR=$BYOL_ACCELERATOR: on GKE take v4, v5litepod, v5p or v6e; $GENERATION goes by launch/tpu.sh" ;;
  esac
  case "$GENERATION,$chips" in
    v4,*|v5p,*) case "$chips" in
      4) TOPOLOGY=2x2x1 ;; 8) TOPOLOGY=2x2x2 ;; 16) TOPOLOGY=2x2x4 ;;
      32) TOPOLOGY=2x4x4 ;; 64) TOPOLOGY=4x4x4 ;; 128) TOPOLOGY=4x4x8 ;;
      256) TOPOLOGY=4x8x8 ;; 512) TOPOLOGY=8x8x8 ;; 1024) TOPOLOGY=8x8x16 ;;
      2048) TOPOLOGY=8x16x16 ;; *) TOPOLOGY='' ;;
    esac ;;
    *) case "$chips" in
      4) TOPOLOGY=2x2 ;; 8) TOPOLOGY=2x4 ;; 16) TOPOLOGY=4x4 ;; 32) TOPOLOGY=4x8 ;;
      64) TOPOLOGY=8x8 ;; 128) TOPOLOGY=8x16 ;; 256) TOPOLOGY=16x16 ;; *) TOPOLOGY='' ;;
    esac ;;
  esac
  [ -n "$TOPOLOGY" ] || die "BYOL_ACCELERATOR=$BYOL_ACCELERATOR: no topology for it here; take a power of two from 4 chips on"
  # node pools of machines with four chips (ct4p-, ct5lp-, ct5p-hightpu-4t,
  # ct6e-standard-4t)
  CHIPS=4 HOSTS=$((chips / 4))
}

# A YAML (and JSON) string.
string() {
  local text="$1"
  text="${text//\\/\\\\}"
  text="${text//\"/\\\"}"
  text="${text//$'\n'/\\n}"
  text="${text//$'\t'/\\t}"
  printf '"%s"' "$text"
}

render() {
  local text args='' word spot=''
  shape
  check_run "$@"
  for word in "${RUN_ARGS[@]}"; do
    args="$args${args:+, }$(string "${word//\$/\$\$}")"  # Kubernetes reads $(X) and $$
  done
  case "$BYOL_CAPACITY" in
    on-demand|reserved) ;;
    spot) spot=$'\n                cloud.google.com/gke-spot: "true"' ;;
    *) die "BYOL_CAPACITY=$BYOL_CAPACITY: take on-demand, spot or reserved" ;;
  esac
  shopt -u patsub_replacement 2>/dev/null || true  # '&' is nothing special
  text="$(cat "$LAUNCH/gke/jobset.yaml")"
  text="${text//@NAME@/$BYOL_NAME}"
  text="${text//@NAMESPACE@/$BYOL_NAMESPACE}"
  text="${text//@MAX_RESTARTS@/$BYOL_MAX_RESTARTS}"
  text="${text//@HOSTS@/$HOSTS}"
  text="${text//@CHIPS@/$CHIPS}"
  text="${text//@ACCOUNT@/$BYOL_K8S_ACCOUNT}"
  text="${text//@GKE_ACCELERATOR@/$GKE_ACCELERATOR}"
  text="${text//@TOPOLOGY@/$TOPOLOGY}"
  text="${text//@SPOT@/$spot}"
  text="${text//@IMAGE@/$(string "$BYOL_IMAGE")}"
  text="${text//@CACHE@/$(string "$BYOL_CACHE")}"
  printf '%s\n' "${text//@ARGS@/[$args]}"  # last: they may hold anything
}

run() {
  local manifest
  kubectl_tool
  manifest="$(render "$@")"
  if [ "$DRY_RUN" = 1 ]; then
    printf "kubectl apply -f - <<'END'\n%s\nEND\n" "$manifest"
    return
  fi
  if kubectl get jobset "$BYOL_NAME" --namespace="$BYOL_NAMESPACE" > /dev/null 2>&1; then
    die "refused: there is a JobSet $BYOL_NAME already; 'job.sh delete' ends it, or take another BYOL_NAME"
  fi
  kubectl apply -f - <<< "$manifest" || exit 75
}

by_xpk() {
  shape
  need BYOL_PROJECT BYOL_ZONE BYOL_CLUSTER
  check_run "$@"
  tool xpk "pip install xpk"
  # 75 and the signals (xpk's own list) mean try again; 2 never does
  call xpk workload create --cluster="$BYOL_CLUSTER" --project="$BYOL_PROJECT" \
    --zone="$BYOL_ZONE" --workload="$BYOL_NAME" --tpu-type="$ACCELERATOR" --num-slices=1 \
    --docker-image="$BYOL_IMAGE" --max-restarts="$BYOL_MAX_RESTARTS" \
    --restart-on-exit-codes=1,75 --termination-grace-period-seconds=120 \
    --env="JAX_COMPILATION_CACHE_DIR=$BYOL_CACHE" \
    --command="cd /byol_jax && bash launch/worker.sh foreground $(quoted "${RUN_ARGS[@]}")"
}

verb="${1:-}"
[ $# = 0 ] || shift
case "$verb" in
  image)
    need BYOL_IMAGE
    tool docker https://docs.docker.com/engine/install
    call docker build --platform=linux/amd64 --file "$LAUNCH/gke/Dockerfile" --tag "$BYOL_IMAGE" "$LAUNCH/.."
    call docker push "$BYOL_IMAGE" ;;
  render|run) "$verb" "$@" ;;
  xpk) by_xpk "$@" ;;
  logs|status|delete)
    need BYOL_NAME
    kubectl_tool
    selector="jobset.sigs.k8s.io/jobset-name=$BYOL_NAME"
    case "$verb" in
      logs) call kubectl logs --namespace="$BYOL_NAMESPACE" --tail=100 "$@" \
              --selector="$selector,batch.kubernetes.io/job-completion-index=0" ;;
      status)
        call kubectl get jobset "$BYOL_NAME" --namespace="$BYOL_NAMESPACE"
        call kubectl get pods --namespace="$BYOL_NAMESPACE" --selector="$selector" --output=wide ;;
      delete)
        tell "deleting the JobSet $BYOL_NAME (namespace $BYOL_NAMESPACE); its run saves and leaves. The node pool stays, and costs"
        call kubectl delete jobset "$BYOL_NAME" --namespace="$BYOL_NAMESPACE" ;;
    esac ;;
  *) die "unknown verb '$verb': image, render, run, xpk, logs, status or delete" ;;
esac

#!/usr/bin/env bash
# Tests and figures on a machine with an NVIDIA GPU that has JAX with CUDA, torch and transformers, and no access to a registry:
#
#     benchmarks/on_a_gpu.sh [WHEELS [RESULTS]]
#
# WHEELS (default .whl) holds wheels of Keras, namex, optree and, for the layers' own tests, of this package:
#     python -m pip wheel --no-deps -w .whl . && python -m pip download --no-deps -d .whl keras namex optree
# They are installed beside what the machine has, in a folder of their own. Each step has a limit of seconds, so that one that hangs
# costs its own row; all of them end within eleven minutes. RESULTS (default build/gpu) gets a log a step; figures are JSON, last line.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wheels=${1:-.whl} results=${2:-build/gpu}
mkdir -p "$results"
site=$(mktemp -d)
python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl || exit
export PYTHONPATH=$site KERAS_BACKEND=jax XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=2

failed=()
# step NAME SECONDS COMMAND...: runs it, keeps its log, prints the end of it
step() {
    local name=$1 limit=$2 started=$SECONDS
    shift 2
    timeout "$limit" "$@" >"$results/$name.log" 2>&1
    local status=$?
    ((status == 0)) || failed+=("$name")
    echo "=== $name: status $status after $((SECONDS - started)) s"
    tail -n "${LINES_SHOWN:-6}" "$results/$name.log"
}

# A GPU multiplies float32 matrices in TF32 unless it is told not to: the tests compare to the last digits.
LINES_SHOWN=30 step tests 140 env JAX_DEFAULT_MATMUL_PRECISION=highest python3 -P -m pytest -q -n 8 -p no:cacheprovider \
    -p no:benchmark -o filterwarnings=default -m "not slow" --continue-on-collection-errors --maxfail 40 \
    tests/ops tests/layers/test_contract.py tests/layers/test_mask_contract.py tests/layers/test_window_attention.py \
    tests/layers/test_window.py tests/layers/test_cache.py tests/layers/test_fast_forms.py tests/layers/test_mixing.py \
    tests/layers/test_segments.py tests/decoding
for task in gpt bert generate vit swin; do
    step "$task" 100 python3 benchmarks/accelerator.py --rounds 3 --tasks "$task"
done
if ((${#failed[@]})); then
    echo "=== failed: ${failed[*]}"
    exit 1
fi

#!/usr/bin/env bash
# Makes the peers' environments and writes the golden values of the losses from them:
#
#   bash benchmarks/peers/make.sh [FOLDER]      Python 3.11
#
# FOLDER is by default $PA_KERAS_PEERS or ~/.cache/pa_keras/peers, where `benchmarks.run` looks. What
# is there already is kept. PyTorch Metric Learning and TensorFlow Addons cannot be installed beside
# Keras 3 (or need not be), so the tests read what they gave from tests/golden/, and benchmarks ask
# them in a process of their own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${PA_KERAS_PEERS:-$HOME/.cache/pa_keras/peers}}
golden=$here/../../tests/golden
mkdir -p "$folder" "$golden"

if [ ! -x "$folder/torch/bin/python" ]; then
    python3.11 -m venv "$folder/torch"
    "$folder/torch/bin/pip" install --quiet torch==2.13.0 pytorch-metric-learning==2.9.0 \
        faiss-cpu==1.15.1 torchvision==0.28.0 timm==1.0.31
fi
if [ ! -x "$folder/addons/bin/python" ]; then
    python3.11 -m venv "$folder/addons"
    "$folder/addons/bin/pip" install --quiet tensorflow==2.15.1 tensorflow-addons==0.23.0
fi
"$folder/torch/bin/python" "$here/golden_torch.py" "$golden/pytorch_metric_learning.json"
"$folder/addons/bin/python" "$here/golden_addons.py" "$golden/tensorflow_addons.json"

#!/usr/bin/env python3
"""Other tools at the work of the rows `lstm64_*` and `iforest_*`, on this machine.

    python3 peers.py [--quick] [--json FILE]

Measures what is installed of onnxruntime (with onnx), torch and scikit-learn, and says what is not. On the
processor: one thread, CPU seconds of the process, best of several runs. On a CUDA device that torch finds:
wall clock with synchronisation, batches large enough to fill it.
"""
import argparse
import json
import os
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

HIDDEN, WINDOW = 64, 64
rows = []


def best(work, runs, clock=time.process_time):
    work()
    times = []
    for _ in range(runs):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def row(what, per_second, unit):
    rows.append({"what": what, "per_second": per_second, "unit": unit})
    print(f"{what:<64} {per_second:>14,.0f} {unit}", flush=True)


def with_onnxruntime(quick):
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)

    def weights(*shape):
        return (rng.uniform(-1, 1, shape) / np.sqrt(HIDDEN)).astype(np.float32)

    def session(length, batch):
        constants = {
            "W": weights(1, 4 * HIDDEN, 1),
            "R": weights(1, 4 * HIDDEN, HIDDEN),
            "B": weights(1, 8 * HIDDEN),
        }
        state = [1, batch, HIDDEN]
        graph = helper.make_graph(
            [helper.make_node("LSTM", ["X", "W", "R", "B", "", "H", "C"], ["", "Hn", "Cn"], hidden_size=HIDDEN)],
            "lstm",
            [
                helper.make_tensor_value_info("X", TensorProto.FLOAT, [length, batch, 1]),
                helper.make_tensor_value_info("H", TensorProto.FLOAT, state),
                helper.make_tensor_value_info("C", TensorProto.FLOAT, state),
            ],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, state) for n in ("Hn", "Cn")],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        zero = np.zeros(state, np.float32)
        feed = {"X": rng.standard_normal((length, batch, 1)).astype(np.float32), "H": zero, "C": zero}
        return lambda: run.run(None, feed)

    name = f"onnxruntime {onnxruntime.__version__}, cpu"
    batch = 512
    seconds = best(session(WINDOW, batch), 3 if quick else 9)
    row(f"{name}: windows of {WINDOW}, batch {batch}", batch / seconds, "windows/s")
    step, repeats = session(1, batch), 50
    seconds = best(lambda: [step() for _ in range(repeats)], 3 if quick else 9)
    row(f"{name}: steps with state, batch {batch}", batch * repeats / seconds, "steps/s")


def with_scikit_learn(quick):
    import numpy as np
    import sklearn
    from sklearn.ensemble import IsolationForest

    rng = np.random.default_rng(1)
    data = rng.standard_normal((65_536, 8)).astype(np.float32)
    forest = IsolationForest(n_estimators=100, max_samples=256, random_state=1).fit(data[:5000])
    seconds = best(lambda: forest.score_samples(data), 1 if quick else 3)
    row(f"scikit-learn {sklearn.__version__}, cpu: forest 100 x 256, 8 values", len(data) / seconds, "rows/s")


def with_torch(quick):
    import torch

    torch.set_num_threads(1)
    for device in ["cpu"] + (["cuda"] if torch.cuda.is_available() else []):
        on_gpu = device == "cuda"
        name = f"torch {torch.__version__}, {torch.cuda.get_device_name(0) if on_gpu else device}"
        clock = time.perf_counter if on_gpu else time.process_time
        runs = 3 if quick else 9

        def timed(work, count=1):
            def run():
                with torch.no_grad():
                    for _ in range(count):
                        work()
                if on_gpu:
                    torch.cuda.synchronize()

            return best(run, runs, clock) / count

        # cuDNN on a device, in each precision it offers there; the best counts.
        kinds = [("f32", torch.float32, False)]
        if on_gpu:
            kinds += [("tf32", torch.float32, True), ("f16", torch.float16, False), ("bf16", torch.bfloat16, False)]
        for kind, dtype, tf32 in kinds:
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            for batch in [4_096, 65_536, 262_144] if on_gpu and not quick else [512]:
                try:
                    lstm = torch.nn.LSTM(1, HIDDEN).to(device, dtype).eval()
                    windows = torch.randn(WINDOW, batch, 1, device=device, dtype=dtype)
                    state = tuple(torch.zeros(1, batch, HIDDEN, device=device, dtype=dtype) for _ in range(2))
                    step = windows[:1].contiguous()
                    what = f"{name}, {kind}, batch {batch}"
                    row(f"{what}: windows of {WINDOW}", batch / timed(lambda: lstm(windows)), "windows/s")
                    row(f"{what}: steps with state", batch / timed(lambda: lstm(step, state), 20), "steps/s")
                    if on_gpu:
                        graph = torch.cuda.CUDAGraph()
                        with torch.no_grad(), torch.cuda.graph(graph):
                            lstm(step, state)
                        row(f"{what}: steps with state, as a graph", batch / timed(graph.replay, 20), "steps/s")
                except RuntimeError as error:
                    print(f"{name}, {kind}, batch {batch}: not measured, {str(error).splitlines()[0]}")

        # A forest as tensors: all rows go down all trees together, a level at a time.
        trees, depth, features = 100, 8, 8
        size = 2 ** (depth + 1) - 1
        cut = torch.randn(trees, size, device=device)
        feature = torch.randint(features, (trees, size), device=device)
        path = torch.rand(trees, size, device=device)
        of_tree = torch.arange(trees, device=device)

        def forest(data):
            at = torch.zeros(len(data), trees, dtype=torch.long, device=device)
            for _ in range(depth):
                right = data.gather(1, feature[of_tree, at]) >= cut[of_tree, at]
                at = 2 * at + 1 + right
            return torch.exp2(-path[of_tree, at].sum(1) / trees)

        for batch in [65_536, 1_048_576] if on_gpu and not quick else [4_096]:
            data = torch.randn(batch, features, device=device)
            row(f"{name}: forest 100 x 256 as tensors, batch {batch}", batch / timed(lambda: forest(data)), "rows/s")
            if on_gpu and hasattr(torch, "compile") and not quick:
                try:
                    compiled = torch.compile(forest)
                    seconds = timed(lambda: compiled(data))
                    row(f"{name}: forest as tensors, compiled, batch {batch}", batch / seconds, "rows/s")
                except Exception as error:  # what is missing for it differs by version
                    print(f"{name}: forest as tensors, compiled: not measured, {str(error).splitlines()[0]}")

        if on_gpu:
            host = torch.empty(1 << 26, dtype=torch.float32).pin_memory()
            there = torch.empty_like(host, device=device)
            seconds = timed(lambda: there.copy_(host, non_blocking=True))
            row(f"{name}: copied to the device, pinned", host.numel() * 4 / seconds, "B/s")
            seconds = timed(lambda: there.add_(1.0))
            row(f"{name}: read and written on the device", host.numel() * 8 / seconds, "B/s")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--quick", action="store_true")
parser.add_argument("--json")
arguments = parser.parse_args()
for tool in (with_onnxruntime, with_scikit_learn, with_torch):
    try:
        tool(arguments.quick)
    except ImportError as missing:
        print(f"{tool.__name__}: not measured, {missing}")
if arguments.json:
    with open(arguments.json, "w") as file:
        json.dump(rows, file, indent=1)

"""Prints what PyTorch and ONNX Runtime say of small fixed weights: the numbers in `README.md`.

The weights are a formula, so that no file is needed: the n-th number of all, in the order of the tensors
below, is sin(1 + 1.7 n) / 2, rounded to f32.
"""
import sys

import numpy as np

HIDDEN = 3
WINDOW = 5
SHAPES = [(4 * HIDDEN, 1), (4 * HIDDEN, HIDDEN), (4 * HIDDEN,), (4 * HIDDEN,), (1, HIDDEN), (1,)]


def tensors():
    n = 0
    for shape in SHAPES:
        size = int(np.prod(shape))
        yield (np.sin(1 + 1.7 * np.arange(n, n + size)) / 2).astype(np.float32).reshape(shape)
        n += size


w_ih, w_hh, b_ih, b_hh, w_out, b_out = tensors()
inputs = np.array([0.5, -1.0, 2.0, 0.0, 0.25, -3.0, 8.0, 1.0], dtype=np.float32)

if sys.argv[1] == "torch":
    import torch

    lstm, head = torch.nn.LSTM(1, HIDDEN), torch.nn.Linear(HIDDEN, 1)
    with torch.no_grad():
        for to, value in zip(
            [lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0, head.weight, head.bias],
            [w_ih, w_hh, b_ih, b_hh, w_out, b_out],
        ):
            to.copy_(torch.from_numpy(value))
        h, _ = lstm(torch.from_numpy(inputs).reshape(-1, 1, 1))
        y = head(h).reshape(-1)
    print("torch", torch.__version__)
    print([float(v) for v in y])
elif sys.argv[1] == "autoencoder":
    import torch

    # The encoder is the layer above; the decoder's numbers are the next ones of the formula.
    first = sum(int(np.prod(shape)) for shape in SHAPES)
    rest = []
    for shape in SHAPES:
        size = int(np.prod(shape))
        rest.append((np.sin(1 + 1.7 * np.arange(first, first + size)) / 2).astype(np.float32).reshape(shape))
        first += size
    encoder, decoder, head = torch.nn.LSTM(1, HIDDEN), torch.nn.LSTM(1, HIDDEN), torch.nn.Linear(HIDDEN, 1)
    with torch.no_grad():
        layers = [(encoder, [w_ih, w_hh, b_ih, b_hh]), (decoder, rest[:4])]
        for layer, values in layers:
            for to, value in zip([layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0], values):
                to.copy_(torch.from_numpy(value))
        head.weight.copy_(torch.from_numpy(rest[4]))
        head.bias.copy_(torch.from_numpy(rest[5]))
        window = torch.from_numpy(inputs[:WINDOW]).reshape(-1, 1, 1)
        _, state = encoder(window)
        told, value = [], head(state[0][0])
        for back in range(WINDOW):
            told.append(float(value))
            _, state = decoder(value.reshape(1, 1, 1), state)
            value = head(state[0][0])
    print("torch", torch.__version__)
    print("told", told)
    print("score", float(np.mean((np.array(told) - inputs[:WINDOW][::-1].astype(np.float64)) ** 2)))
else:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    def blocks(values):
        i, f, g, o = np.split(values, 4)
        return np.concatenate([i, o, f, g])

    parts = {
        "W": blocks(w_ih)[None],
        "R": blocks(w_hh)[None],
        "B": np.concatenate([blocks(b_ih), blocks(b_hh)])[None],
    }
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], hidden_size=HIDDEN)],
        "lstm",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [len(inputs), 1, 1])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [len(inputs), 1, 1, HIDDEN])],
        [numpy_helper.from_array(value, name) for name, value in parts.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (h,) = session.run(None, {"X": inputs.reshape(-1, 1, 1)})
    y = h.reshape(len(inputs), HIDDEN) @ w_out[0] + b_out[0]
    print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
    print([float(v) for v in y])
    print("W", [float(v) for v in parts["W"].ravel()])

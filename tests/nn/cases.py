"""Functions, modules, optimisers and schedules with small inputs, as tables: run under PyTorch once (make_golden.py),
and under Braze in the tests. A tensor is a shape here; its values are a fixed pattern."""

import numpy as np


def pattern(shape, seed=0):
    """Numbers between -1.5 and 1.5, all different, the same everywhere."""
    n = int(np.prod(shape))
    return (1.5 * np.sin(np.arange(1, n + 1) * 1.37 + seed * 0.71)).reshape(shape)


def values(spec, seed=0):
    """An array from its description: a shape, ("int", shape, bound), ("ties", shape), ("unit", shape),
    ("fixed", shape) (without gradient), ("bool", shape), or a list."""
    if isinstance(spec, list):
        return np.array(spec)
    kind, shape = ("plain", spec) if not spec or isinstance(spec[0], int) else spec[:2]
    plain = pattern(shape, seed)
    if kind == "int":
        return (np.arange(plain.size) * 7 % spec[2]).reshape(shape)
    if kind == "ties":
        return np.round(plain)
    if kind in ("unit", "fixed"):
        return np.abs(plain) / 1.6 + 0.01
    if kind == "bool":
        return plain > -0.5
    return plain


LABELS = ("int", (4,), 5)
IMAGE, ODD = (2, 3, 6, 4), (1, 2, 7, 5)

FUNCTIONS = {
    "linear": ("linear", [(2, 3), (4, 3), (4,)], {}),
    "bilinear": ("bilinear", [(2, 3), (2, 2), (4, 3, 2), (4,)], {}),
    "embedding": ("embedding", [("int", (2, 3), 5), (5, 2)], {"padding_idx": 2}),
    "conv1d": ("conv1d", [(2, 2, 6), (3, 2, 3), (3,)], {"padding": 1, "stride": 2}),
    "conv2d": ("conv2d", [IMAGE, (4, 3, 3, 2), (4,)], {"stride": (2, 1), "padding": (1, 0)}),
    "conv2d groups and dilation": ("conv2d", [(1, 4, 6, 6), (6, 2, 2, 3)], {"groups": 2, "dilation": (2, 1)}),
    "conv2d same": ("conv2d", [(1, 1, 4, 5), (1, 1, 2, 4)], {"padding": "same"}),
    "conv3d": ("conv3d", [(1, 1, 3, 4, 3), (2, 1, 2, 2, 2)], {}),
    "conv_transpose1d": ("conv_transpose1d", [(1, 2, 3), (2, 3, 3), (3,)],
                         {"stride": 2, "padding": 1, "output_padding": 1}),
    "conv_transpose2d": ("conv_transpose2d", [(1, 4, 2, 3), (4, 1, 3, 2)],
                         {"groups": 2, "dilation": 2, "stride": (1, 2)}),
    "max_pool2d": ("max_pool2d", [IMAGE, ], {"kernel_size": 2}),
    "max_pool2d of equal numbers": ("max_pool2d", [("ties", IMAGE)], {"kernel_size": 2}),
    "max_pool2d overlapping": ("max_pool2d", [("ties", ODD)], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "max_pool2d with a partial window": ("max_pool2d", [ODD], {"kernel_size": 2, "ceil_mode": True}),
    "max_pool1d dilated": ("max_pool1d", [(1, 2, 9)], {"kernel_size": 3, "stride": 1, "dilation": 2}),
    "avg_pool2d": ("avg_pool2d", [ODD], {"kernel_size": 2}),
    "avg_pool2d overlapping": ("avg_pool2d", [ODD], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "avg_pool2d without padding": ("avg_pool2d", [ODD], {"kernel_size": 3, "stride": 2, "padding": 1,
                                                         "count_include_pad": False}),
    "avg_pool2d with a partial window": ("avg_pool2d", [ODD], {"kernel_size": 2, "ceil_mode": True}),
    "avg_pool2d partial and padded": ("avg_pool2d", [ODD], {"kernel_size": 3, "stride": 3, "padding": 1,
                                                            "ceil_mode": True}),
    "adaptive_avg_pool2d": ("adaptive_avg_pool2d", [ODD], {"output_size": (3, 5)}),
    "adaptive_max_pool2d": ("adaptive_max_pool2d", [ODD], {"output_size": (2, 1)}),
    "layer_norm": ("layer_norm", {"input": (2, 3, 4), "weight": (3, 4), "bias": (3, 4)}, {"normalized_shape": (3, 4)}),
    "rms_norm": ("rms_norm", {"input": (2, 4), "weight": (4,)}, {"normalized_shape": (4,)}),
    "group_norm": ("group_norm", {"input": (2, 4, 3), "weight": (4,), "bias": (4,)}, {"num_groups": 2}),
    "batch_norm": ("batch_norm", [(3, 2, 4), ("fixed", (2,)), ("fixed", (2,)), (2,), (2,)], {"training": False}),
    "normalize": ("normalize", [(2, 3)], {"p": 3.0}),
    "relu": ("relu", [(2, 5)], {}),
    "relu6": ("relu6", [(2, 5)], {}),
    "leaky_relu": ("leaky_relu", [(2, 5)], {"negative_slope": 0.2}),
    "elu": ("elu", [(2, 5)], {"alpha": 0.75}),
    "celu": ("celu", [(2, 5)], {"alpha": 0.75}),
    "selu": ("selu", [(2, 5)], {}),
    "gelu": ("gelu", [(2, 5)], {}),
    "gelu tanh": ("gelu", [(2, 5)], {"approximate": "tanh"}),
    "silu": ("silu", [(2, 5)], {}),
    "mish": ("mish", [(2, 5)], {}),
    "logsigmoid": ("logsigmoid", [(2, 5)], {}),
    "softplus": ("softplus", [(2, 5)], {"beta": 2.0, "threshold": 2.0}),
    "softsign": ("softsign", [(2, 5)], {}),
    "hardtanh": ("hardtanh", [(2, 5)], {"min_val": -0.5}),
    "hardsigmoid": ("hardsigmoid", [(2, 5)], {}),
    "hardswish": ("hardswish", [(2, 5)], {}),
    "prelu": ("prelu", [(2, 3), (3,)], {}),
    "glu": ("glu", [(2, 6)], {}),
    "softmax": ("softmax", [(2, 5)], {"dim": 0}),
    "log_softmax": ("log_softmax", [(2, 5)], {"dim": -1}),
    "cross_entropy": ("cross_entropy", [(4, 5), LABELS], {}),
    "cross_entropy sum": ("cross_entropy", [(4, 5), LABELS], {"reduction": "sum"}),
    "cross_entropy none": ("cross_entropy", [(4, 5), LABELS], {"reduction": "none", "label_smoothing": 0.1}),
    "cross_entropy smoothed": ("cross_entropy", [(4, 5), LABELS], {"label_smoothing": 0.2}),
    "cross_entropy ignoring": ("cross_entropy", [(4, 5), [1, -100, 3, -100]], {}),
    "cross_entropy ignoring and smoothed": ("cross_entropy", [(4, 5), [1, 2, 3, 2]],
                                            {"ignore_index": 2, "label_smoothing": 0.1}),
    "cross_entropy weighted": ("cross_entropy", [(4, 5), LABELS, ("fixed", (5,))], {}),
    "cross_entropy weighted and smoothed": ("cross_entropy", [(4, 5), LABELS, ("fixed", (5,))],
                                            {"label_smoothing": 0.3}),
    "cross_entropy of images": ("cross_entropy", [(2, 3, 2, 2), ("int", (2, 2, 2), 3)], {}),
    "cross_entropy of probabilities": ("cross_entropy", [(4, 5), ("unit", (4, 5))], {"label_smoothing": 0.1}),
    "cross_entropy without a batch": ("cross_entropy", [(5,), ("int", (), 5)], {}),
    "nll_loss": ("nll_loss", [(4, 5), LABELS], {"ignore_index": 2}),
    "binary_cross_entropy": ("binary_cross_entropy", [("unit", (2, 3)), ("unit", (2, 3))], {}),
    "binary_cross_entropy_with_logits": ("binary_cross_entropy_with_logits", [(2, 3), ("unit", (2, 3))], {}),
    "kl_div": ("kl_div", [(2, 3), ("unit", (2, 3))], {"reduction": "batchmean"}),
    "mse_loss": ("mse_loss", [(2, 3), (2, 3)], {}),
    "l1_loss": ("l1_loss", [(2, 3), (2, 3)], {"reduction": "sum"}),
    "huber_loss": ("huber_loss", [(2, 3), (2, 3)], {"delta": 0.6}),
    "smooth_l1_loss": ("smooth_l1_loss", [(2, 3), (2, 3)], {"beta": 0.4}),
    "cosine_similarity": ("cosine_similarity", [(2, 3), (2, 3)], {}),
    "attention": ("scaled_dot_product_attention", [(1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 2)], {}),
    "attention causal": ("scaled_dot_product_attention", [(2, 3, 4), (2, 3, 4), (2, 3, 4)],
                         {"is_causal": True, "scale": 0.3}),
    "attention masked": ("scaled_dot_product_attention", [(1, 2, 2, 4), (1, 2, 3, 4), (1, 2, 3, 2), ("bool", (2, 3))],
                         {}),
    "attention with a bias": ("scaled_dot_product_attention", [(1, 2, 2, 4), (1, 2, 3, 4), (1, 2, 3, 2), (2, 3)], {}),
    "attention grouped": ("scaled_dot_product_attention", [(1, 4, 2, 3), (1, 2, 2, 3), (1, 2, 2, 3)],
                          {"enable_gqa": True}),
    "pad": ("pad", [(1, 2, 3)], {"pad": (1, 2, 0, 1), "value": 0.5}),
    "pad reflect": ("pad", [(1, 2, 5)], {"pad": (2, 3), "mode": "reflect"}),
    "pad replicate": ("pad", [(1, 2, 3)], {"pad": (1, 2), "mode": "replicate"}),
    "pad circular": ("pad", [(1, 2, 4)], {"pad": (1, 3), "mode": "circular"}),
}  # fmt: skip

# name: (class, arguments, options, input shapes, options of the call)
MODULES = {
    "Linear": ("Linear", (3, 2), {}, [(2, 3)], {}),
    "Conv2d reflecting": ("Conv2d", (1, 2, 3), {"padding": 1, "padding_mode": "reflect"}, [(1, 1, 4, 4)], {}),
    "ConvTranspose2d": ("ConvTranspose2d", (2, 2, 3), {"stride": 2}, [(1, 2, 2, 2)], {}),
    "BatchNorm1d": ("BatchNorm1d", (3,), {}, [(4, 3)], {}),
    "BatchNorm2d averaging": ("BatchNorm2d", (2,), {"momentum": None}, [(2, 2, 2, 2)], {}),
    "GroupNorm": ("GroupNorm", (2, 4), {}, [(2, 4, 2)], {}),
    "RMSNorm": ("RMSNorm", (4,), {"eps": 1e-3}, [(2, 4)], {}),
    "Embedding": ("Embedding", (5, 2), {}, [("int", (2, 2), 5)], {}),
    "MultiheadAttention": ("MultiheadAttention", (4, 2), {}, [(3, 1, 4), (2, 1, 4), (2, 1, 4)], {}),
    "MultiheadAttention of other sizes": (
        "MultiheadAttention", (4, 2), {"kdim": 3, "vdim": 2, "batch_first": True}, [(1, 2, 4), (1, 3, 3), (1, 3, 2)],
        {"average_attn_weights": False}),
    "TransformerEncoderLayer": ("TransformerEncoderLayer", (4, 2, 6), {"dropout": 0.0, "batch_first": True},
                                [(2, 3, 4)], {}),
    "TransformerEncoderLayer norm first": (
        "TransformerEncoderLayer", (4, 2, 6), {"dropout": 0.0, "norm_first": True, "activation": "gelu"}, [(3, 1, 4)],
        {}),
    "RNN": ("RNN", (3, 2), {}, [(3, 2, 3)], {}),
    "RNN of relu, given a state": ("RNN", (3, 2), {"nonlinearity": "relu", "bias": False}, [(3, 2, 3), (1, 2, 2)], {}),
    "LSTM": ("LSTM", (3, 2), {}, [(4, 2, 3)], {}),
    "LSTM in both directions": ("LSTM", (2, 2), {"num_layers": 2, "bidirectional": True, "batch_first": True},
                                [(1, 3, 2)], {}),
    "LSTM projected": ("LSTM", (2, 3), {"proj_size": 2, "num_layers": 2}, [(3, 1, 2)], {}),
    "LSTM without a batch": ("LSTM", (2, 2), {"bias": False}, [(3, 2)], {}),
    "GRU": ("GRU", (3, 2), {"num_layers": 2}, [(3, 2, 3), (2, 2, 2)], {}),
    "GRU in both directions": ("GRU", (2, 2), {"bidirectional": True}, [(3, 1, 2)], {}),
    "RNNCell": ("RNNCell", (3, 2), {"nonlinearity": "relu"}, [(2, 3), (2, 2)], {}),
    "LSTMCell": ("LSTMCell", (3, 2), {}, [(2, 3)], {}),
    "GRUCell": ("GRUCell", (3, 2), {"bias": False}, [(3,), (2,)], {}),
}  # fmt: skip

OPTIMISERS = {
    "SGD": ("SGD", {"lr": 0.1}),
    "SGD momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "SGD dampened": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "SGD Nesterov": ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "Adam": ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
    "Adam amsgrad": ("Adam", {"lr": 0.1, "amsgrad": True, "betas": (0.8, 0.9)}),
    "AdamW": ("AdamW", {"lr": 0.1, "weight_decay": 0.2, "maximize": True}),
    "RMSprop": ("RMSprop", {"lr": 0.1, "alpha": 0.9}),
    "RMSprop centered": ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.5, "weight_decay": 0.1}),
    "Adagrad": ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.2}),
}

SCHEDULES = {
    "StepLR": ("StepLR", {"step_size": 3, "gamma": 0.5}),
    "MultiStepLR": ("MultiStepLR", {"milestones": [2, 5], "gamma": 0.1}),
    "ExponentialLR": ("ExponentialLR", {"gamma": 0.9}),
    "LinearLR": ("LinearLR", {"start_factor": 0.25, "total_iters": 4}),
    "CosineAnnealingLR": ("CosineAnnealingLR", {"T_max": 8, "eta_min": 0.01}),
    "OneCycleLR": ("OneCycleLR", {"max_lr": 1.0, "total_steps": 12}),
}
STEPS = 6


def arguments(specs, make):
    """(positional, named) arguments: `make(array, needs gradients)` for each description."""
    named = specs if isinstance(specs, dict) else {}
    listed = [] if named else specs

    def one(i, spec):
        array = values(spec, i)
        return make(array, array.dtype.kind == "f" and not (spec and spec[0] == "fixed"))

    return [one(i, s) for i, s in enumerate(listed)], {k: one(i, s) for i, (k, s) in enumerate(named.items())}


def objective(p, t):
    """What the optimisers minimise in step t: a sum of squares, tilted differently in each step."""
    return ((p - 0.3 * t) ** 2 * (1.0 + 0.1 * t)).sum() + 0.2 * (p * p * p).sum()

"""Counts the floating-point operations of matrix products and convolutions in a graph."""

import collections
import math
import re

import tensorflow as tf

HEAVY = re.compile("MatMul|Conv|Einsum|Xla.*Dot|LSTM|GRU|RNN")  # what must have a rule below
LIGHT = ("Conv2DBackpropInputShape", "ConvertToCooTensor")


def training_flops(network, batch):
    """FLOPs of a `train_step` on `batch`, arrays of one whole batch: a dict from dtype to number.

    A multiplication and an addition are two. Nothing else than products is counted.
    """
    spec = tf.nest.map_structure(
        lambda x: tf.TensorSpec.from_tensor(tf.convert_to_tensor(x)), batch
    )
    step = tf.function(network.train_step, autograph=False).get_concrete_function(spec)
    return dict(graph_flops(step.graph))


def graph_flops(graph):
    """A Counter from dtype to FLOPs of what the results and effects of a `FuncGraph` need."""
    total = collections.Counter()
    for op in needed(graph):
        branches = [_function(graph, op, name) for name in ("then_branch", "else_branch", "f")]
        if op.type in ("While", "StatelessWhile"):
            body = graph_flops(_function(graph, op, "body"))
            times = _iterations(op) if body else 0
            total.update({dtype: times * n for dtype, n in body.items()})
        elif any(branches):
            parts = [graph_flops(branch) for branch in branches if branch]
            total += max(parts, key=lambda part: part.total())
        elif op.type in RULES:
            total[op.outputs[0].dtype.name] += RULES[op.type](op)
        elif HEAVY.search(op.type) and op.type not in LIGHT:
            raise ValueError(f"{op.name}: there is no rule for {op.type}.")
    return total


def needed(graph):
    """The operations that run: TensorFlow leaves out those that nothing depends on."""
    waiting = [x.op for x in graph.outputs] + list(graph.control_outputs)
    found = set()
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [x.op for x in op.inputs] + list(op.control_inputs)
    return found


def _iterations(loop):
    """TensorFlow gives a loop a counter and the most that it may count to as first inputs."""
    times = tf.get_static_value(loop.inputs[1])
    if times is None or times < 0:
        raise ValueError(f"{loop.name}: how often it runs is not known from the graph.")
    return int(times)


def _function(graph, op, attribute):
    """The graph of a function that `op` calls, if it has such an attribute."""
    if attribute not in op.node_def.attr or not op.node_def.attr[attribute].HasField("func"):
        return None
    while graph is not None:  # a function may be defined in a graph around this one
        found = graph._get_function(op.node_def.attr[attribute].func.name)
        if found is not None:
            return found.graph
        graph = getattr(graph, "outer_graph", None)
    raise ValueError(f"{op.name}: its function is not in the graph.")


def _size(tensor):
    return math.prod(_shape(tensor))


def _shape(tensor):
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"{tensor.name}: its shape {tensor.shape} is not known from the graph.")
    return tensor.shape.as_list()


def _matmul(op):
    names = [name for name in ("transpose_a", "adj_x") if name in op.node_def.attr]
    transposed = any(op.get_attr(name) for name in names)
    return 2 * _size(op.outputs[0]) * _shape(op.inputs[0])[-2 if transposed else -1]


def _einsum(op):
    inputs, _ = op.get_attr("equation").decode().replace(" ", "").split("->")
    sizes = {}
    for letters, tensor in zip(inputs.split(","), op.inputs, strict=True):
        if "." in letters:
            raise ValueError(f"{op.name}: there is no rule for an ellipsis.")
        sizes.update(zip(letters, _shape(tensor), strict=True))
    return 2 * math.prod(sizes.values()) if len(op.inputs) > 1 else 0


def _convolution(output, kernel):
    """Both as shapes; what the kernel sees outside the picture counts, too."""
    return 2 * math.prod(output) * math.prod(kernel[:3])


RULES = {
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matmul),
    "Einsum": _einsum,
    "Conv2D": lambda op: _convolution(_shape(op.outputs[0]), _shape(op.inputs[1])),
    "Conv2DBackpropInput": lambda op: _convolution(_shape(op.inputs[2]), _shape(op.inputs[1])),
    "Conv2DBackpropFilter": lambda op: _convolution(_shape(op.inputs[2]), _shape(op.outputs[0])),
}

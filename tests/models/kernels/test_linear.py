"""Our linear layer against the matrix product in float64, and its gradients against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mae_bench.models.kernels import linear as module
from mae_bench.models.kernels.linear import linear, project

BATCH, ROWS, IN, OUT = 4, 20, 96, 40


@pytest.fixture
def calls(monkeypatch) -> list[tuple[int, ...]]:
    """Shapes of what goes to oneDNN, which here takes even small products."""
    seen = []
    product = module._product

    def record(x, weight, bias=None):
        seen.append((*x.shape, *weight.shape))
        return product(x, weight, bias)

    monkeypatch.setattr(module, "MIN_PRODUCTS", 1)
    monkeypatch.setattr(module, "_product", record)
    return seen


def operands(seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((BATCH, ROWS, IN), (OUT, IN), (OUT,), (BATCH, ROWS, OUT))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


@pytest.mark.parametrize("kind", ["plain", "slice", "without bias", "rows", "constant gradient"])
def test_value_and_gradients(kind, calls):
    x, weight, bias, grad = operands()
    if kind == "slice":
        x, grad = x[:, -7:], grad[:, -7:]
    if kind == "rows":
        x, grad = x.flatten(0, 1), grad.flatten(0, 1)
    if kind == "constant gradient":
        grad = torch.ones(()).expand_as(grad)  # strides of 0, as sum() gives
    leaves = [x, weight] if kind == "without bias" else [x, weight, bias]
    found = [leaf.detach().requires_grad_() for leaf in leaves]
    expected = [leaf.double().requires_grad_() for leaf in leaves]
    outputs = linear(*found), F.linear(*expected)
    outputs[0].backward(grad)
    outputs[1].backward(grad.double())
    torch.testing.assert_close(outputs[0].double(), outputs[1], rtol=1e-5, atol=1e-5)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-5, atol=1e-4)
    assert calls == [(*x.shape, OUT, IN), (*grad.shape, IN, OUT)]


@pytest.mark.parametrize("shape", [(8, 32), (32, 8), (8, 31), (7, 32)], ids=str)
@pytest.mark.parametrize("rows", [6, 5])
def test_weight_gradient_of_wide_layers(shape, rows, calls, monkeypatch):
    monkeypatch.setattr(module, "MIN_ROWS", 6)
    monkeypatch.setattr(module, "MIN_WIDTH", 8)
    width_out, width_in = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width_in, generator=generator)
    weight = torch.randn(width_out, width_in, generator=generator, requires_grad=True)
    grad = torch.randn(rows, width_out, generator=generator)
    linear(x, weight).backward(grad)
    torch.testing.assert_close(weight.grad, torch.einsum("rm,rn->mn", grad, x))
    by_onednn = rows == 6 and shape in [(8, 32), (32, 8)]
    assert len(calls) == 1 + by_onednn


def test_no_gradient_that_nobody_wants(calls):
    x, weight, bias, grad = operands()
    linear(x, weight.requires_grad_(), bias).backward(grad)
    assert len(calls) == 1 and x.grad is None and bias.grad is None


@pytest.mark.parametrize(
    "kind", ["float64", "bfloat16", "autocast", "meta", "small", "subclass", "hook", "replaced"]
)
def test_all_else_goes_to_pytorch(kind, calls, monkeypatch):
    layer = nn.Linear(IN, OUT)
    x = operands()[0]
    if kind in ("float64", "bfloat16"):
        layer, x = layer.to(getattr(torch, kind)), x.to(getattr(torch, kind))
    if kind == "meta":
        layer, x = layer.to("meta"), x.to("meta")
    if kind == "small":
        monkeypatch.setattr(module, "MIN_PRODUCTS", BATCH * ROWS * IN * OUT + 1)
    if kind == "subclass":
        x = x.as_subclass(type("Marked", (torch.Tensor,), {}))
    if kind == "hook":
        layer.register_forward_hook(lambda layer, inputs, output: None)
    if kind == "replaced":
        layer.forward = lambda x: F.linear(x, layer.weight, layer.bias)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        out = project(layer, x)
        expected = F.linear(x, layer.weight, layer.bias)
    assert not calls
    assert out.dtype == expected.dtype
    assert kind == "meta" or torch.equal(out, expected)


def test_layer_that_nobody_looks_at(calls):
    layer, x = nn.Linear(IN, OUT), operands()[0]
    torch.testing.assert_close(project(layer, x), F.linear(x, layer.weight, layer.bias))
    assert len(calls) == 1


def test_operations_are_counted(calls):
    """Also where only the backward pass is looked at."""
    x, weight, bias, grad = operands()
    for tensor in (x, weight, bias):
        tensor.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        linear(x, weight, bias).backward(grad)
    assert counter.get_total_flops() == 3 * 2 * BATCH * ROWS * IN * OUT
    out = linear(x, weight, bias)
    with FlopCounterMode(display=False) as counter:
        out.backward(grad)
    assert counter.get_total_flops() == 2 * 2 * BATCH * ROWS * IN * OUT
    assert len(calls) == 1


def test_second_derivatives(calls):
    x, weight, bias, _ = (tensor.double().float().requires_grad_() for tensor in operands())

    def hessian_product(function):
        value = function(x, weight, bias).pow(3).sum()
        first = torch.autograd.grad(value, (x, weight, bias), create_graph=True)
        return torch.autograd.grad(sum(g.pow(2).sum() for g in first), (x, weight, bias))

    for found, expected in zip(hessian_product(linear), hessian_product(F.linear), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)
    assert calls


def test_function_transforms(calls):
    """Per-sample gradients, forward mode, and vectors of gradients at once."""
    x, weight, _, _ = operands()

    def loss(function):
        return lambda weight, x: function(x, weight).pow(2).sum()

    for transform in (
        lambda f: torch.func.grad(f)(weight, x),
        lambda f: torch.func.vmap(torch.func.grad(f), (None, 0))(weight, x),
        lambda f: torch.func.jvp(f, (weight, x), (weight, x))[1],
        lambda f: torch.func.hessian(f)(weight[:2], x[0, :2]),
    ):
        torch.testing.assert_close(
            transform(loss(linear)), transform(loss(F.linear)), rtol=1e-4, atol=1e-2
        )
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        tangent = torch.autograd.forward_ad.unpack_dual(linear(dual, weight)).tangent
    torch.testing.assert_close(tangent, F.linear(x, weight))
    assert not calls
    x.requires_grad_()
    out = linear(x, weight)
    vectors = torch.stack([out.detach(), 2 * out.detach()])
    (batched,) = torch.autograd.grad(out, x, vectors, is_grads_batched=True)
    torch.testing.assert_close(batched, vectors @ weight, rtol=1e-4, atol=1e-3)

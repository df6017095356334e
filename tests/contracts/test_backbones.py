"""What any model of PyTorch is asked to do, of every registered backbone."""

import copy
import io
import pickle
import re
import warnings
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
import torch.distributed as dist
from mmengine.analysis import get_model_complexity_info
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmpretrain.models.peft.lora import LoRAModel
from onnx.reference import ReferenceEvaluator
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer as TimmViT
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from mae_bench.models import MAE
from mae_bench.models.kernels import linear
from mae_bench.registry import MODELS

from .backbone_cases import ARCH, CASES, MAPS, SIDE, build, images, vit

every_backbone = pytest.mark.parametrize("name", CASES)
OWN = [name for name in CASES if name.startswith("vit")]
# Names of blocks, or of stages.
PARTS = r"(net\.)?(blocks|layers|stages)\.\d+|net\.layer\d"


@pytest.fixture(autouse=True)
def small_products_go_to_onednn(monkeypatch):
    """As large ones do; these models are tiny."""
    monkeypatch.setattr(linear, "MIN_PRODUCTS", 1)


def assert_equal(found: Any, expected: Any, **tolerance: float) -> None:
    assert len(found) == len(expected)
    tolerance = tolerance or dict(rtol=1e-4, atol=1e-5)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_every_registered_backbone_has_a_case():
    MODELS.import_from_location()
    names = {
        name
        for name, kind in MODELS.module_dict.items()
        if callable(getattr(kind, "layer_id", None))
    }
    assert names == {case["type"].removeprefix("mae_bench.") for case in CASES.values()}


@every_backbone
def test_copies_and_files(name):
    module, x = build(name), images()
    expected = module(x)
    assert_equal(copy.deepcopy(module)(x), expected)
    assert_equal(pickle.loads(pickle.dumps(module))(x), expected)
    other = MODELS.build(CASES[name]).eval()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_equal(other(x), expected)


@every_backbone
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_precision(name, dtype):
    module, x = build(name), images()
    expected = module(x)
    found = module.to(dtype)(x.to(dtype))
    assert all(tensor.dtype == dtype for tensor in found)
    tolerance = 1e-4 if dtype is torch.float64 else 0.1
    for a, b in zip(found, expected, strict=True):
        assert (a.double() - b.double()).norm() < tolerance * b.double().norm()


@every_backbone
def test_shapes_and_memory_formats(name):
    module = build(name)
    x = images(3)
    whole = module(x)
    assert_equal(module(x.to(memory_format=torch.channels_last)), whole)
    for i in range(3):
        assert_equal(module(x[i : i + 1]), [tensor[i : i + 1] for tensor in whole])
    oblong = module(images(2, 64, SIDE))
    for a, b in zip(oblong, whole, strict=True):
        assert a.shape[1] == b.shape[1]
        assert a.ndim == 2 or a.shape[2:] == (2 * b.shape[2], b.shape[3])


# Capturing for compilation takes seconds each.
SLOW_GRAPHS = {("compile", name) for name in CASES if name != "vit-mean"}


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        pytest.param(tool, name, marks=pytest.mark.slow if (tool, name) in SLOW_GRAPHS else ())
        for tool in ("export", "trace", "compile")
        for name in CASES
    ]
    + [("fx", "timm-resnet-maps"), ("fx", "timm-convnext-mean")],
)
def test_graphs(tool, name):
    """Captured with a batch of 2, run with one of 5."""
    module, x, other = build(name), images(), images(5, seed=3)
    if tool == "compile":
        torch._dynamo.reset()
        torch._dynamo.mark_dynamic(x, 0)
        captured: Any = torch.compile(module, backend="aot_eager", fullgraph=True)
        captured(x)
    elif tool == "export":
        batch = {0: torch.export.Dim("batch", min=1, max=64)}
        captured = torch.export.export(module, (x,), dynamic_shapes=dict(images=batch)).module()
    elif tool == "fx":
        captured = torch.fx.symbolic_trace(module)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            captured = torch.jit.trace(module, x)
    assert_equal(captured(other), module(other))


@pytest.mark.parametrize("name", OWN)
def test_onnx(name):
    """TorchScript's exporter, run by the reference implementation on another batch."""
    module, x, other = build(name), images(), images(3, seed=3)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (x,), file, dynamo=False, opset_version=17, input_names=["images"],
            dynamic_axes=dict(images={0: "batch"}),
        )  # fmt: skip
    model = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(model)
    found = ReferenceEvaluator(model).run(None, dict(images=other.numpy()))
    assert_equal([torch.from_numpy(array) for array in found], module(other))


def loss_of(module: nn.Module, x: Tensor) -> Tensor:
    return sum(tensor.pow(2).mean() for tensor in module(x))


def gradients(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    loss_of(module, x).backward()
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys() != set()
    for name, gradient in expected.items():
        scale = float(gradient.abs().max()) or 1.0
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4 * scale, msg=name)


@every_backbone
def test_activation_checkpointing(name):
    """MMEngine's, of all blocks, or stages, named by their path."""
    module, x = build(name), images()
    expected = gradients(module, x)
    parts = [n for n, _ in module.named_modules() if re.fullmatch(PARTS, n)]
    assert len(parts) >= 2
    turn_on_activation_checkpointing(module, parts)
    assert_same_gradients(gradients(module, x), expected)


@every_backbone
def test_frozen(name):
    module = build(name, frozen=True).train()
    assert not any(p.requires_grad for p in module.parameters())
    assert not any(m.training for m in module.modules())
    assert not module(images(2).requires_grad_())[0].requires_grad


@every_backbone
def test_hooks_of_all_layers(name):
    """Every module with parameters of its own is called as a module once somebody listens."""
    module, x = build(name), images()
    expected, expected_gradients = module(x), gradients(module, x)
    layers = {
        n: m
        for n, m in module.named_modules()
        if isinstance(m, (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d))
    }
    called: list[str] = []
    backward: list[str] = []
    for n, layer in layers.items():
        layer.register_forward_hook(lambda m, i, o, n=n: called.append(n))
        if name in OWN:  # timm's ResNet works in place, which hooks of the gradient forbid
            layer.register_full_backward_hook(lambda m, i, o, n=n: backward.append(n))
    assert_equal(module(x), expected)
    assert set(called) == set(layers)
    assert_same_gradients(gradients(module, x), expected_gradients)
    assert set(backward) == (set(layers) if name in OWN else set())


@pytest.mark.parametrize("name", [*OWN, "mae"])
def test_hooks_of_all_modules(name):
    """PyTorch's for the modules of every model, which no layer can be seen to have."""
    module, x, called = masked_autoencoder() if name == "mae" else build(name), images(), set()
    torch.manual_seed(5)
    expected = module(x)
    handle = register_module_forward_hook(lambda m, i, o: called.add(m))
    try:
        torch.manual_seed(5)
        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)
    finally:
        handle.remove()
    layers = {m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.LayerNorm))}
    assert layers and layers <= called


def flops_of(module: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        module(x)
    return counter.get_total_flops()


def twin(kind: type[nn.Module] = TimmViT, **options: Any) -> nn.Module:
    """timm's model of the architecture of our cases."""
    return kind(img_size=SIDE, patch_size=4, num_classes=0, **ARCH, **options).eval()


class Maps(nn.Module):
    """Maps of both blocks of a ViT of timm."""

    def __init__(self, kind: type[nn.Module] = TimmViT, **options: Any) -> None:
        super().__init__()
        self.net = twin(kind, **options)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.net.forward_intermediates(x, indices=[0, 1], intermediates_only=True)


# The same architecture in timm, for each kind of output.
TWINS = {
    "mean": (dict(output="mean"), lambda: twin(global_pool="avg")),
    "class_token": (
        dict(output="class_token", layer_scale_init=0.5),
        lambda: twin(global_pool="token", init_values=0.5),
    ),
    "tokens": (dict(output="tokens"), lambda: twin(global_pool="")),
    "maps": (MAPS, Maps),
    "maps, a bias for each block": (
        dict(rel_pos_bias="per_block", **MAPS),
        lambda: Maps(Beit, use_rel_pos_bias=True),
    ),
    "maps, a shared bias": (
        dict(rel_pos_bias="shared", **MAPS),
        lambda: Maps(Beit, use_shared_rel_pos_bias=True),
    ),
}


@pytest.mark.parametrize("kind", TWINS)
def test_operations_are_those_of_the_same_architecture_in_timm(kind):
    options, theirs = TWINS[kind]
    ours = MODELS.build(vit(**options)).eval()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # those of the fused ones are not counted
        assert flops_of(ours, images(1)) == flops_of(theirs(), images(1)) > 2e6


def test_operations_of_decomposed_positions():
    """timm's SAM adds them to the logits, here they are channels of queries and keys.

    Fused kernels, which serve long sequences, want values as wide as these.
    """
    ours = build("vit-maps-decomposed-windows")
    theirs = Maps(
        VisionTransformerSAM,
        use_rel_pos=True,
        window_size=4,
        global_attn_indexes=(1,),
        neck_chans=0,
        global_pool="",
    )
    windows, whole = 4 * 16**2 * (4 + 4), 64**2 * (8 + 8)  # pairs of tokens by channels
    more = 2 * ARCH["num_heads"] * (windows + 2 * whole)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        assert flops_of(ours, images(1)) == flops_of(theirs, images(1)) + more


def test_operations_by_mmengine():
    ours, theirs = build("vit-mean"), twin(global_pool="avg")

    def count(module: nn.Module) -> float:
        info = get_model_complexity_info(
            module, input_shape=(3, SIDE, SIDE), show_table=False, show_arch=False
        )
        return info["flops"]

    # MMEngine counts the operators that it knows: products, convolutions and norms.
    assert count(ours) == pytest.approx(count(theirs), rel=0.02)


@every_backbone
def test_operations_are_counted(name):
    """As many as with PyTorch's own layers alone, forward and backward."""
    module, x = build(name), images(1)
    counts = []
    for products in (1, 10**18):
        linear.MIN_PRODUCTS = products
        with FlopCounterMode(display=False) as counter:
            loss_of(module, x).backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("name", OWN)
def test_operations_are_those_that_a_profiler_counts(name):
    """It knows PyTorch's own operators only."""
    module, x, counts = build(name), images(1), []
    for products in (1, 10**18):
        linear.MIN_PRODUCTS = products
        with torch.no_grad(), torch.profiler.profile(with_flops=True, acc_events=True) as profile:
            module(x)
        counts.append(sum(event.flops for event in profile.key_averages()))
    assert counts[0] == counts[1] > 1e6


@every_backbone
def test_function_transforms(name):
    """Gradients of each sample, and directions, of all parameters."""
    module, x = build(name).double(), images(3).double()
    parameters = dict(module.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        out = torch.func.functional_call(module, parameters, (x,))
        return sum(tensor.pow(2).sum() for tensor in out)

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x[:, None])
    total = torch.func.grad(loss)(parameters, x)
    for key, value in total.items():
        torch.testing.assert_close(each[key].sum(dim=0), value, rtol=1e-6, atol=1e-8)
    direction = {key: torch.ones_like(value) for key, value in parameters.items()}
    # PyTorch's fused kernels have no forward mode; ours are chosen by who asks
    with nullcontext() if name in OWN else sdpa_kernel(SDPBackend.MATH):
        slope = torch.func.jvp(lambda p: loss(p, x), (parameters,), (direction,))[1]
    expected = sum(value.sum() for value in total.values())
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", OWN)
def test_second_derivatives(name):
    """A gradient penalty, against the same model with PyTorch's own layers."""
    module = build(name)
    found = []
    for products in (1, 10**18):
        linear.MIN_PRODUCTS = products
        module.zero_grad()
        x = images(2).requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):  # PyTorch's fused ones have no second derivatives
            (first,) = torch.autograd.grad(loss_of(module, x), x, create_graph=True)
            first.pow(2).sum().backward()
        found.append(
            {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
        )
    assert_same_gradients(*found)


@contextmanager
def one_process(folder: Any) -> Any:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@every_backbone
def test_distributed(name, tmp_path):
    """DistributedDataParallel finds a gradient for every parameter."""
    module, x = build(name), images()
    expected = gradients(module, x)
    module.zero_grad()
    with one_process(tmp_path):
        wrapped = DistributedDataParallel(module)
        loss_of(wrapped, x).backward()
        found = {n: p.grad for n, p in module.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in found.values())
    assert_same_gradients(found, expected)


def masked_autoencoder() -> nn.Module:
    torch.manual_seed(0)
    return MAE(
        backbone=CASES["vit-mean"] | dict(output="tokens"),
        decoder=dict(embed_dim=16, depth=2, num_heads=2),
    ).eval()


@pytest.mark.parametrize("name", [*OWN, "mae"])
def test_lora(name, monkeypatch):
    """mmpretrain's, zero at its start, in windows with padding and in MAE's last block too."""
    # a module that is built already
    monkeypatch.setattr("mmpretrain.models.peft.lora.MODELS", SimpleNamespace(build=lambda m: m))
    module = masked_autoencoder() if name == "mae" else build(name)
    x = images()

    def run(model: nn.Module) -> Tensor:
        torch.manual_seed(5)  # masks
        return model(x) if name == "mae" else torch.cat([t.flatten() for t in model(x)])

    expected = run(module)
    adapted = LoRAModel(
        module=module, alpha=4, rank=2, targets=[dict(type=".*qkv"), dict(type=".*fc1")]
    ).eval()
    torch.testing.assert_close(run(adapted), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "lora_up" in key:
                parameter += 0.3
    assert not torch.allclose(run(adapted), expected, atol=1e-3)
    run(adapted).sum().backward()
    trained = {key for key, p in adapted.named_parameters() if p.grad is not None}
    assert trained == {key for key, _ in adapted.named_parameters() if "lora_" in key}


@pytest.mark.parametrize("name", [*OWN, "mae"])
def test_dynamic_quantization(name):
    """Every linear layer, with results near those before."""
    module = masked_autoencoder() if name == "mae" else build(name)
    x = images()
    torch.manual_seed(5)
    expected = module(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.ao.quantization.quantize_dynamic(module, {nn.Linear})
    kinds = [type(m) for m in quantized.modules()]
    count = sum(type(m) is nn.Linear for m in module.modules())
    assert count > 0 and nn.Linear not in kinds
    assert kinds.count(torch.ao.nn.quantized.dynamic.Linear) == count
    torch.manual_seed(5)
    found = quantized(x)
    pairs = [(found, expected)] if name == "mae" else zip(found, expected, strict=True)
    for a, b in pairs:
        assert 0 < (a - b).norm() < 0.1 * b.norm()


@pytest.mark.parametrize("tool", [parametrizations.weight_norm, parametrizations.spectral_norm])
@pytest.mark.parametrize("name", OWN)
def test_parametrized_weights(name, tool):
    """Weights that are computed from others are computed whenever they are used."""
    module, plain, x = build(name), build(name), images()
    layers, twins = (
        [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        for model in (module, plain)
    )
    for layer, twin in zip(layers, twins, strict=True):
        tool(layer)
        with torch.no_grad():
            for key, parameter in layer.named_parameters():
                if "original" in key:
                    parameter *= 1.5
            twin.weight.copy_(layer.weight)
    assert_equal(module(x), plain(x))
    found = gradients(module, x)
    assert sum("original" in key for key in found) >= len(layers)


@pytest.mark.parametrize("name", OWN)
def test_pruning(name):
    """PyTorch's own, which hangs on layers as a hook."""
    module, x = build(name), images()
    expected = module(x)
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            prune.l1_unstructured(layer, "weight", amount=0.5)
    pruned = module(x)
    assert not torch.allclose(pruned[0], expected[0])
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            prune.remove(layer, "weight")
    assert_equal(module(x), pruned)


def test_hooks_of_the_patch_embedding_see_images_or_patches():
    """Images as in timm; where only some patches are embedded, each is an image of its own."""
    module, seen = build("vit-mean"), []
    hook = lambda m, inputs, output: seen.append((inputs[0].shape, output.shape))  # noqa: E731
    module.patch_embed.proj.register_forward_hook(hook)
    module(images())
    assert seen == [((2, 3, SIDE, SIDE), (2, 24, 8, 8))]
    seen.clear()
    autoencoder = masked_autoencoder()
    autoencoder.backbone.patch_embed.proj.register_forward_hook(hook)
    torch.manual_seed(5)
    found = autoencoder(images())
    assert seen == [((2 * 16, 3, 4, 4), (2 * 16, 24, 1, 1))]
    plain = masked_autoencoder()
    torch.manual_seed(5)
    torch.testing.assert_close(found, plain(images()), rtol=1e-4, atol=1e-5)

"""When operations and layers have to be PyTorch's own, because something else has to see them.

What counts operations, traces them for export, transforms functions (``torch.func``) or hangs on
layers (hooks, LoRA, quantization, pruning) knows PyTorch's operators and modules. Then none of the
faster ways is taken.
"""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as modules


def transformed() -> bool:
    """Whether this is a call of ``torch.func`` or of forward-mode differentiation."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    )


def captured() -> bool:
    """Whether this call is compiled, exported or traced, or transformed, and not just run."""
    return (
        torch.compiler.is_compiling()  # it chooses kernels of its own
        or torch._C._get_tracing_state() is not None
        or transformed()
    )


def any_module_hook() -> bool:
    """Whether a hook is registered for the modules of all models."""
    return bool(modules._has_any_global_hook())


def any_mode() -> bool:
    """Whether a mode of PyTorch's sees every operator or function."""
    return torch._C._len_torch_dispatch_stack() > 0 or torch._C._len_torch_function_stack() > 0


def observed() -> bool:
    """Whether this call is captured, or a mode, a hook or a profiler looks at all operators or
    modules.

    PyTorch's profiler counts the operations (``with_flops``) of PyTorch's own operators only.
    """
    return captured() or any_module_hook() or any_mode() or torch.autograd._profiler_enabled()


def untouched(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer is just what its class says, so that its weights may be used without it.

    Hooks on all modules count as :func:`observed`: counters of operations have them too.
    """
    return (
        type(layer) is kind
        and "forward" not in layer.__dict__
        and layer._compiled_call_impl is None
        and not (
            layer._forward_hooks
            or layer._forward_pre_hooks
            or layer._backward_hooks
            or layer._backward_pre_hooks
        )
    )


def plain_tensors(*tensors: Tensor | None) -> bool:
    """Whether none is of a subclass, which may hold its values otherwise (sharded, quantized)."""
    return all(t is None or type(t) in (Tensor, nn.Parameter) for t in tensors)

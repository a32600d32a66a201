"""A GPU that is only pretended: CPU tensors that say they are on `cuda:0` and mind whom they meet.

A function mode labels tensors and looks at every call from Python before it runs on the CPU: a call that
mixes devices where CUDA would refuse, or hands a labelled tensor to NumPy, raises as on a real GPU. What a
call gives is labelled like what it took. That shows where a tensor was left behind, and nothing about CUDA's
arithmetic. (A subclass with a CUDA device cannot stand in: without CUDA, autograd ends the process.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from diff2i2p_core.weights import device as devices

CUDA = torch.device("cuda", 0)
_LABEL = "_pretended"
_TO_NUMPY: set[Any] = {Tensor.numpy, Tensor.__array__}
_MOVES = {Tensor.to, Tensor.cuda, Tensor.cpu}
_NEW_FROM_DATA = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}
_COPIES = {Tensor.copy_, torch._has_compatible_shallow_copy_type}
_NO_SCALARS = {torch.cat, torch.stack, torch.searchsorted, torch.bucketize}
_INDEXES = {Tensor.__getitem__, Tensor.__setitem__}


def on_gpu(tensor: Tensor) -> bool:
    return getattr(tensor, _LABEL, False)


def _labelled(value: Any, gpu: bool = True) -> Any:
    """`value`, the tensors in it labelled."""
    for tensor in _tensors(value):
        if gpu:
            setattr(tensor, _LABEL, True)
        else:
            tensor.__dict__.pop(_LABEL, None)
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _device_among(values: Iterable[Any]) -> torch.device | None:
    for value in values:
        if isinstance(value, torch.device):
            return value
        if isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda", "meta"):
            return torch.device(value)
    return None


def _check(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the call runs on the GPU. RuntimeError where CUDA would refuse it."""
    met = list(_tensors((args, kwargs)))
    gpu = any(on_gpu(t) for t in met)
    if not gpu or func in _COPIES:
        return bool(met) and on_gpu(met[0])
    if func in _INDEXES:
        rest = list(_tensors(args[1]))
        if not on_gpu(args[0]) and any(on_gpu(t) and t.dim() for t in rest):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor")
        # A plain slice is filled by a copy, which may come from anywhere.
        met = [args[0], *_tensors(args[2:])] if rest else [args[0]]
        gpu = on_gpu(args[0])
    least = 0 if func in _NO_SCALARS else 1
    if gpu and any(not on_gpu(t) and t.dim() >= least for t in met):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {getattr(func, '__name__', func)} "
            f"got {[(str(CUDA) if on_gpu(t) else 'cpu', tuple(t.shape)) for t in met]}"
        )
    return gpu


class PretendedGpu(TorchFunctionMode):
    """Inside, `to("cuda")` and `device="cuda"` label tensors; nothing leaves the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":  # a property
            return self._get(getattr(func, "__self__", None), func, args)
        if name == "__set__":
            func(*args)
            if func.__self__ is Tensor.data:
                _labelled(args[0], on_gpu(args[1]))
            return None
        if func in _TO_NUMPY and on_gpu(args[0]):
            raise TypeError(f"can't convert {CUDA} device type tensor to numpy. Use Tensor.cpu() first")
        if func is Tensor.pin_memory:
            return args[0]
        if func in _MOVES:
            return self._moved(func, args, kwargs)
        if func is Tensor.__iter__:
            return iter(_labelled(args[0].unbind(0), on_gpu(args[0])))
        gpu = _check(func, args, kwargs)
        device = _device_among([kwargs.get("device")])
        if device is not None:
            gpu = device.type == "cuda"
            kwargs["device"] = "cpu" if gpu else device
        elif func in _NEW_FROM_DATA and not isinstance(args[1 if func is Tensor.new_tensor else 0], Tensor):
            gpu = func is Tensor.new_tensor and on_gpu(args[0])
        if gpu and isinstance(kwargs.get("generator"), torch.Generator):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and device is not None and gpu != on_gpu(result):
            result = result.clone()  # `as_tensor` may give its argument
        return _labelled(result, gpu) if gpu or device is not None else result

    @staticmethod
    def _get(owner: Any, func: Any, args: Any) -> Any:
        gpu = on_gpu(args[0])
        if owner is Tensor.device:
            return CUDA if gpu else func(*args)
        if owner in (Tensor.is_cuda, Tensor.is_cpu):
            return gpu is (owner is Tensor.is_cuda)
        result = func(*args)
        return _labelled(result) if gpu else result

    @staticmethod
    def _moved(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        source, rest = args[0], list(args[1:])
        if func is not Tensor.to:
            rest = [func.__name__]  # "cpu" or "cuda"
        device = _device_among([*rest, *kwargs.values()])
        others = list(_tensors((rest, kwargs)))
        gpu = on_gpu(others[0] if others else source) if device is None else device.type == "cuda"
        if device is not None and gpu:
            rest = [torch.device("cpu") if _device_among([value]) else value for value in rest]
            kwargs |= {"device": "cpu"} if "device" in kwargs else {}
        result = source.to(*rest, **kwargs)
        if result is source and gpu != on_gpu(source):
            result = source.clone()
        return _labelled(result, gpu)


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, tensors may be moved to "cuda", ops run their torch references, and CUDA's autocast is the
    CPU's (with the CPU's lists of ops)."""
    autocast, enabled = torch.autocast, torch.is_autocast_enabled

    def kind(device: str) -> str:
        return device.replace("cuda", "cpu")

    def on_cpu(call: Callable[..., Any]) -> Callable[..., Any]:
        return functools.wraps(call)(lambda device, *rest, **options: call(kind(device), *rest, **options))

    with monkeypatch.context() as patch, PretendedGpu():
        patch.setenv("DIFF2I2P_OPS", "torch")
        patch.setattr(torch, "autocast", on_cpu(autocast))
        patch.setattr(torch, "is_autocast_enabled", on_cpu(enabled))
        for call in ("synchronize", "reset_peak_memory_stats"):
            patch.setattr(torch.cuda, call, lambda _=None: None)
        patch.setattr(torch.cuda, "max_memory_allocated", lambda _=None: 0)
        patch.setattr(devices, "gpus", lambda: 1)  # torch itself has none: accelerate would try to use it
        yield

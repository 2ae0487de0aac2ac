"""A GPU for machines without one: tensors that claim to be on it, and refuse what a real GPU refuses.

Their values are on the CPU and are computed there. A tensor gets to the pretended GPU where the code under test moves
or creates one there, as on a real GPU; `numpy()` and an operation with a tensor of the CPU raise an error, as there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree

GPU = torch.device("cuda", 0)
# Operations that take tensors of both devices: copies, and what only looks at types.
_ACROSS = {"copy_", "_has_compatible_shallow_copy_type", "__get__", "__set__", "data", "is_same_size"}
# Operations worth a GPU.
_HEAVY = {"linear", "matmul", "__matmul__", "mm", "bmm", "baddbmm", "embedding", "embedding_bag"}
_HEAVY |= {"scaled_dot_product_attention", "layer_norm", "cross_entropy", "logsumexp"}
# Indices may be on the CPU.
_INDEXING = {"__getitem__", "__setitem__"}


class OnGpu(torch.Tensor):
    """A tensor that claims to be on the GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU if torch._C._is_torch_function_enabled() else torch.device("cpu")

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return self.device.type == "cuda"

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *_: Any, **__: Any) -> Any:
        self.numpy()

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        copy = self.detach().clone().requires_grad_(self.requires_grad)
        copy.__dict__.update(self.__dict__)
        return memo.setdefault(id(self), copy)


class PretendedGpu(TorchFunctionMode):
    """Inside, `GPU` is a device like any other.

    Attributes:
        operations: name -> how often an operation ran on it.
        missed: names of products and the like that ran on the CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: dict[str, int] = {}
        self.missed: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        tensors = [each for each in _pytree.tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        target = _find_target(name, args, kwargs)
        on_gpu = any(isinstance(each, OnGpu) for each in tensors)
        if target is not None:
            args = tuple(_swap(each) for each in args)
            kwargs = {key: _swap(each) for key, each in kwargs.items()}
        else:
            _check_places(name, args, tensors)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        if target is None and not on_gpu:
            self.missed |= {name} & _HEAVY
            return result
        gpu = on_gpu if target is None else target.type == "cuda"
        self.operations[name] = self.operations.get(name, 0) + gpu
        moved = target is not None and bool(tensors)
        return _pytree.tree_map(lambda each: _place(each, tensors, gpu=gpu, moved=moved), result)


def _find_target(name: str, args: Any, kwargs: Any) -> torch.device | None:
    """Return the device that an operation moves to or creates on; None: that of its tensors."""
    if name == "cpu":
        return torch.device("cpu")
    if name == "cuda":
        return GPU
    given = [kwargs.get("device"), *(args[1:] if name == "to" else ())]
    for each in given:
        if isinstance(each, torch.device):
            return each
        if isinstance(each, torch.Tensor):
            return each.device
        if isinstance(each, str):
            return torch.device(each)
    return None


def _swap(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("cuda"):
        return torch.device("cpu")
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == "cuda" else value


def _check_places(name: str, args: Any, tensors: list[torch.Tensor]) -> None:
    checked = tensors
    if name in _INDEXING:
        # Indices may be on the CPU if what they index is on the GPU.
        checked = [args[0], *args[2:]] if isinstance(args[0], OnGpu) else tensors
    sized = [each for each in checked if isinstance(each, torch.Tensor) and each.dim()]
    places = {isinstance(each, OnGpu) for each in sized}
    if len(places) > 1 and name not in _ACROSS:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found cuda:0 and cpu")


def _place(value: Any, inputs: list[torch.Tensor], *, gpu: bool, moved: bool) -> Any:
    if not isinstance(value, torch.Tensor) or (not moved and any(value is each for each in inputs)):
        return value
    if isinstance(value, OnGpu) == gpu:
        return value
    with torch._C.DisableTorchFunctionSubclass():
        # A copy, as a move to or from a GPU is.
        value = value.clone() if moved else value
        return value.as_subclass(OnGpu if gpu else torch.Tensor)


@contextmanager
def pretend_gpu() -> Iterator[PretendedGpu]:
    """Let torch report one GPU inside the block, and give what runs there."""
    state, autocast = torch.zeros(8, dtype=torch.uint8), torch.autocast
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with (
            patch("torch.cuda.is_available", lambda: True),
            patch("torch.cuda.get_device_name", lambda: "Pretended H200"),
            patch("torch.cuda.synchronize", lambda: None),
            # The values are on the CPU, so its products are the ones that change their precision.
            patch("torch.autocast", lambda device_type, **given: autocast("cpu", **given)),
            patch("torch.cuda.device_count", lambda: 1),
            patch("torch.cuda.is_bf16_supported", lambda including_emulation=True: True),
            patch("torch.cuda.get_rng_state", lambda device="cuda": state.clone()),
            patch("torch.cuda.set_rng_state", lambda new, device="cuda": state.copy_(new)),
            PretendedGpu() as gpu,
        ):
            yield gpu
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)

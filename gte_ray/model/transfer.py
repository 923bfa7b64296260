"""Copy arrays to the device without waiting for it."""

import numpy as np
import torch
from torch import Tensor


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Return `array` on `device`; a GPU copies it from pinned memory while the host goes on."""
    tensor = torch.from_numpy(np.require(array, requirements="W"))  # arrays of Arrow cannot be written to
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

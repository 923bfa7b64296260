"""What a worker and its machine are doing, by the names that MLflow's own monitor gives, which would import MLflow."""

import os
import time
from contextlib import suppress

import psutil
import torch

EVERY_SECONDS = 10.0
"""Time between two readings, as in MLflow."""
MEGA = 1e6


class Readings:
    """CPU, memory, network and GPU of one worker, from time to time."""

    def __init__(self, rank: int, device: torch.device, every_seconds: float = EVERY_SECONDS):
        self.prefix, self.device, self.every_seconds = f"system/worker_{rank}", device, every_seconds
        self.process = psutil.Process(os.getpid())
        self.process.cpu_percent()  # of the time since the call before: the first one has none
        psutil.cpu_percent()
        self.network, self.read = _network(), time.monotonic()

    def due(self) -> dict[str, float]:
        """Return a reading by name if it is time for one, else nothing; nothing too where it fails: no training ends by it."""
        if time.monotonic() - self.read < self.every_seconds:
            return {}
        with suppress(Exception):
            return {f"{self.prefix}/{name}": float(value) for name, value in self._values().items()}
        return {}

    def _values(self) -> dict[str, float]:
        now, network = time.monotonic(), _network()
        seconds, self.read = max(now - self.read, 1e-9), now
        received, sent = (
            (new - old) / MEGA / seconds for new, old in zip(network, self.network, strict=True)
        )
        self.network = network
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "process_cpu_percentage": self.process.cpu_percent(),
            "system_memory_usage_percentage": psutil.virtual_memory().percent,
            "process_memory_megabytes": self.process.memory_info().rss / MEGA,
            "network_receive_megabytes_per_second": received,
            "network_transmit_megabytes_per_second": sent,
        }
        return values | (self._gpu() if self.device.type == "cuda" else {})

    def _gpu(self) -> dict[str, float]:
        free, total = torch.cuda.mem_get_info(self.device)
        values = {
            "gpu_memory_usage_percentage": 100 * (total - free) / total,
            "gpu_memory_usage_megabytes": (total - free) / MEGA,
        }
        with suppress(
            Exception
        ):  # without nvidia-ml-py, or of a driver that does not tell, by errors of its own
            values["gpu_utilization_percentage"] = torch.cuda.utilization(self.device)
        return values


def _network() -> tuple[int, int]:
    """Bytes received and sent so far; 0 where there is no network."""
    counted = psutil.net_io_counters()
    return (counted.bytes_recv, counted.bytes_sent) if counted else (0, 0)

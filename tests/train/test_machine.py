"""Readings of the workers' machines, and their way to the reports."""

import asyncio
import os
import time

import psutil
import pytest
import torch

from gte_ray.train.machine import Readings
from gte_ray.train.mailbox import Mailbox, Reporter
from gte_ray.train.step_report import StepMetrics, StepReport

METRICS = StepMetrics(1.0, 0.5, 0.0, 1.0, 1e-3, False, 1.0, 10, 10, 2, 7)
CPU = torch.device("cpu")


def test_a_reading_is_of_the_machine_and_of_the_process():
    readings = Readings(3, CPU, every_seconds=0.2)
    assert readings.due() == {}
    busy = time.monotonic() + 0.3
    while time.monotonic() < busy:
        pass
    read = {name.removeprefix("system/worker_3/"): value for name, value in readings.due().items()}
    assert all(name.startswith(("cpu", "process", "system", "network")) for name in read)
    assert 30 < read["process_cpu_percentage"] < 250
    assert 0 < read["cpu_utilization_percentage"] <= 100 and 0 < read["system_memory_usage_percentage"] < 100
    rss = psutil.Process(os.getpid()).memory_info().rss / 1e6
    assert read["process_memory_megabytes"] == pytest.approx(rss, rel=0.2)
    assert read["network_receive_megabytes_per_second"] >= 0
    assert readings.due() == {}, "not again at once"


def test_what_cannot_be_read_ends_nothing(monkeypatch):
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)  # as without a network
    readings = Readings(0, CPU, every_seconds=0)
    assert readings.due()["system/worker_0/network_receive_megabytes_per_second"] == 0

    def denied():
        raise PermissionError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", denied)
    assert readings.due() == {}


def test_a_gpu_is_read_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 97)
    read = Readings(0, torch.device("cuda"), every_seconds=0).due()
    assert read["system/worker_0/gpu_memory_usage_percentage"] == 75
    assert read["system/worker_0/gpu_memory_usage_megabytes"] == 60_000
    assert read["system/worker_0/gpu_utilization_percentage"] == 97

    class NotSupported(Exception):
        pass

    def not_told(device):
        raise NotSupported  # as nvidia-ml-py says of a slice of a GPU

    monkeypatch.setattr(torch.cuda, "utilization", not_told)
    assert "system/worker_0/gpu_utilization_percentage" not in Readings(0, torch.device("cuda"), 0).due()


class Calls:
    """A mailbox whose calls are made at once."""

    def __init__(self):
        self.mailbox = Mailbox()

    def __getattr__(self, name):
        class Call:
            @staticmethod
            def remote(*arguments):
                return asyncio.run(getattr(self.mailbox, name)(*arguments))

        return Call


def test_readings_of_all_ranks_go_with_the_next_report_of_the_first():
    calls = Calls()
    first, second = (Reporter(calls, rank, Readings(rank, CPU, every_seconds=0), 0) for rank in (0, 1))
    second.add(0, "web", 0.0, METRICS)
    assert calls.mailbox.reports == [], "the second rank reports no steps"
    first.add(0, "web", 0.0, METRICS)
    (report,) = calls.mailbox.reports
    ranks = {name.split("/")[1] for name in report.system}
    assert ranks == {"worker_0", "worker_1"}
    assert report.named()["system/worker_1/process_memory_megabytes"] > 10
    first.readings.every_seconds = 100
    first.add(1, "web", 0.0, METRICS)
    assert calls.mailbox.reports[1].system == {}, "each reading once"
    bare = StepReport(1, "web", 0.1, 0.0, METRICS)
    assert not any(name.startswith("system/") for name in bare.named())

"""Imports what a rank needs."""

import gte_ray.train.step  # noqa: F401
from gte_ray.train.deepspeed_setup import import_quickly

import_quickly()

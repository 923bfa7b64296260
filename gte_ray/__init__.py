"""gte_ray: multi-stage contrastive training of general text embedding models on Ray."""

__version__ = "0.1.0"

"""Build the objective that the training step calls."""

from gte_ray.config import Config
from gte_ray.model.contrast import Objective
from gte_ray.model.distillation import Distilled
from gte_ray.model.duplicates import Duplicates
from gte_ray.model.loss import JointLoss


def build_objective(config: Config) -> Objective:
    """Return the loss of `config.objective`, in tiles of the size that `config.hardware` sets."""
    objective = config.objective
    contrastive = JointLoss(
        objective.temperature,
        objective.directions,
        config.hardware.loss_tile,
        masks=(Duplicates,) if objective.mask_duplicates else (),
        margin=objective.false_negative_margin,
        guide_margin=objective.guide_margin if objective.guide else None,
        levels=objective.levels,
    )
    if not objective.teacher_weight:
        return contrastive
    return Distilled(
        contrastive,
        objective.teacher_loss,
        objective.teacher_weight,
        objective.temperature,
        objective.teacher_temperature,
        levels=objective.levels,
    )

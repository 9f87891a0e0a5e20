"""x_t, level -> gradient of log p(y | x_t), and where it enters a prediction."""

from adm.guidance.gradients import Gradient, classifier_gradient, shift_mean, shift_noise

__all__ = ["Gradient", "classifier_gradient", "shift_mean", "shift_noise"]

"""Lesson -> Objectives: a student of few steps learns from a guided sampler."""

from adm.distillation.consistency import ConsistencyTuning
from adm.distillation.settings import METHODS, Distillation
from adm.distillation.student import (
    Jump,
    Lesson,
    Method,
    Student,
    Teach,
    conditions,
    step_to,
    student_of,
)
from adm.distillation.trajectory import Trajectory

__all__ = [
    "METHODS",
    "ConsistencyTuning",
    "Distillation",
    "Jump",
    "Lesson",
    "Method",
    "Student",
    "Teach",
    "Trajectory",
    "conditions",
    "step_to",
    "student_of",
]

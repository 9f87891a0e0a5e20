"""Lesson -> Objectives: a student of few steps learns from a guided sampler."""

from adm.distillation.consistency import ConsistencyTuning
from adm.distillation.progressive import Progressive
from adm.distillation.settings import Distillation, Method
from adm.distillation.student import (
    Jump,
    Lesson,
    Student,
    Teach,
    conditions,
    every,
    stepped,
    student_of,
)
from adm.distillation.trajectory import Trajectory

__all__ = [
    "ConsistencyTuning",
    "Distillation",
    "Jump",
    "Lesson",
    "Method",
    "Progressive",
    "Student",
    "Teach",
    "Trajectory",
    "conditions",
    "every",
    "stepped",
    "student_of",
]

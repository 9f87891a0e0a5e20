"""DiffusionModel, Sampling, Classes -> Samples, sample folder."""

"""Path, run folder or shipped name -> DiffusionModel, ClassifierModel."""

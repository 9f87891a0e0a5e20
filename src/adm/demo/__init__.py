"""Shipped models, scales -> list of Column, report.html."""

SCALES = (0.0, 1.0, 2.0, 4.0, 8.0)
REPORT, SAMPLES, MANIFEST, SCORES = "report.html", "samples", "demo.json", "scores.json"
FILES = {REPORT, SAMPLES, MANIFEST, SCORES, "grid.png", "denoising.gif"}  # of the demo's folder

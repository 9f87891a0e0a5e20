"""Shipped models, scales -> list of Column, report.html."""

from adm.data.naming import ANIMATION, SHEET
from adm.store.hashes import SUMS

SCALES = (0.0, 1.0, 2.0, 4.0, 8.0)
REPORT, SAMPLES, MANIFEST, SCORES = "report.html", "samples", "demo.json", "scores.json"
CASCADE = "emoji"
FILES = {REPORT, SAMPLES, CASCADE, MANIFEST, SCORES, SHEET, ANIMATION, SUMS}  # of the demo's folder

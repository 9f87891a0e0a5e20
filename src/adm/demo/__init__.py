"""Shipped models, scales -> list of Column, report.html."""

SCALES = (0.0, 1.0, 2.0, 4.0, 8.0)

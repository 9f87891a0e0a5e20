"""the shipped models -> guided samples at several scales, judged, and a report."""

SCALES = (0.0, 1.0, 2.0, 4.0, 8.0)
